"""Four programs that don't know of each other on one quota: how much of it they use, and how fairly.

Played on a virtual clock, over ten seeds. `python -m benchmarks.sharing`
"""

from statistics import mean

from tests.support import virtual_clock
from tests.support.shared_quota import share_quota
from zim_async.sandbox import COUNTERS

NETWORKS = (("loopback", 0.001, 0.0005), ("40 ms + 5 ms", 0.02, 0.005), ("200 ms + 30 ms", 0.1, 0.03))


def main() -> None:
    """Print the means over ten seeds."""
    print("counting      network          used  refused  largest/smallest share")
    for name, trip, jitter in NETWORKS:
        for counting in COUNTERS:
            outcomes = [virtual_clock.run(share_quota(counting, 4, trip, jitter, seed=seed)) for seed in range(10)]
            used, refused = mean(o.used for o in outcomes), mean(o.refused for o in outcomes)
            fairness = mean(o.largest_to_smallest for o in outcomes)
            print(f"{counting:13} {name:15} {used:5.3f}   {refused:5.1%}  {fairness:5.2f}")


if __name__ == "__main__":
    main()
