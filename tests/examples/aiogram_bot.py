import asyncio
import os

from aiogram import Bot, Dispatcher, Router
from aiogram.filters import Command, CommandObject
from aiogram.types import Message

from zim_async import InvalidArgumentError, NotFoundError, ZimClient, ZimError

router = Router()


@router.message(Command("forget"))
async def forget(message: Message, command: CommandObject, zim: ZimClient) -> None:
    user, _, other = (command.args or "").partition(" ")
    try:
        await zim.clear_peer_message(from_user_id=user, to_user_id=other.strip(), max_wait=3, deadline=10)
        await message.answer("Forgotten.")
    except (InvalidArgumentError, NotFoundError) as error:
        await message.answer(f"Not forgotten: {error}")
    except ZimError:  # the queue is long, the server is down, ...
        await message.answer("Not forgotten: the chat server is busy. Try again in a minute.")
        raise  # aiogram logs it


def make_dispatcher(zim: ZimClient) -> Dispatcher:
    dispatcher = Dispatcher(zim=zim)  # aiogram hands it to every handler that asks for `zim`
    dispatcher.include_router(router)
    dispatcher.shutdown.register(zim.close)
    return dispatcher


if __name__ == "__main__":
    asyncio.run(make_dispatcher(ZimClient.from_env()).start_polling(Bot(os.environ["BOT_TOKEN"])))
