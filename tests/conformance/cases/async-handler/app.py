import asyncio


async def work():
    await asyncio.sleep(0.02)
    return {"slept": True}


def handler(event, context):
    return asyncio.run(work())
