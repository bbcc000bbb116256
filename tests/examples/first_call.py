import asyncio

from zim_async import ConvType, ZimClient


async def main() -> None:
    async with ZimClient.from_env() as zim:
        await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
        response = await zim.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)
        print(response.request_id)


if __name__ == "__main__":
    asyncio.run(main())
