import logging

logger = logging.getLogger()
logger.setLevel(logging.INFO)


def handler(event, context):
    logger.debug("below the level: never seen")
    logger.info("an info")
    logger.warning("a warning")
    logger.error("an error")
    return "done"
