"""The console script, which can say what to install when its own libraries are missing."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from . import cli
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        print("zim-async needs its command-line libraries: pip install 'zim_async[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
