def handler(event, context):
    print(event["rtl"], event["astral"], "🦀")
    return {"event": event, "characters": len(event["astral"])}
