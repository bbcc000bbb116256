import contextlib
import os

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from zim_async import ConvType, NotFoundError, ZimClient

# A stream keeps a task until a worker has done it.
broker = RedisStreamBroker(os.environ["ZIM_REDIS_URL"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    state.zim = ZimClient.from_env()  # with ZIM_REDIS_URL set, all processes share one quota


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    await state.zim.close()


@broker.task
async def leave_group(user_id: str, group_id: str, context: Context = TaskiqDepends()) -> None:
    zim: ZimClient = context.state.zim
    with contextlib.suppress(NotFoundError):  # done before
        await zim.delete_conv(from_user_id=user_id, conv_id=group_id, conv_type=ConvType.GROUP, priority="bulk")
