from lib.beside import WORD


def handler(event, context):
    return WORD
