import socket


def handler(event, context):
    reached = []
    for host, port in event["addresses"]:
        try:
            socket.create_connection((host, port), timeout=1).close()
            reached.append([host, port])
        except OSError:
            pass
    return reached
