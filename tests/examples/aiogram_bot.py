from aiogram import Dispatcher, Router
from aiogram.filters import Command, CommandObject
from aiogram.types import Message

from zim_async import ApiError, ZimClient

router = Router()


@router.message(Command("forget"))
async def forget(message: Message, command: CommandObject, zim: ZimClient) -> None:
    user, _, other = (command.args or "").partition(" ")
    try:
        await zim.clear_peer_message(from_user_id=user, to_user_id=other.strip())
        await message.answer("Forgotten.")
    except (ApiError, ValueError) as error:
        await message.answer(f"Not forgotten: {error}")


def make_dispatcher(zim: ZimClient) -> Dispatcher:
    dispatcher = Dispatcher(zim=zim)  # aiogram hands it to every handler that asks for `zim`
    dispatcher.include_router(router)
    dispatcher.shutdown.register(zim.close)
    return dispatcher
