def handler(event, context):
    pass
def def
