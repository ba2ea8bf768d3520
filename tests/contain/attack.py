"""An MCP server that tries to get out: each tool tells what the kernel said."""

import json
import os
import socket
import subprocess
import sys
import time


def tcp(port):
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(5)
    made.connect(("127.0.0.1", port))
    return "connected"


def udp(port):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
    return "sent"


def named(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
    return "connected"


def fork(most):
    """As many children as may be made, at most `most`."""
    made = []
    try:
        for _ in range(most):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            made.append(pid)
        return f"{len(made)} processes"
    except OSError as error:
        raise RuntimeError(f"after {len(made)}: {error}") from error
    finally:
        for pid in made:
            os.kill(pid, 9)
        for pid in made:
            os.waitpid(pid, 0)


def eat(mib):
    held = []
    for _ in range(mib):
        block = bytearray(1 << 20)
        block[::4096] = b"x" * 256
        held.append(block)
    return f"{len(held)} MiB"


def spin():
    while True:
        pass


def daemon():
    """A process that leaves its group and its parent, and is there when this returns."""
    heard, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(told, b"here")
            time.sleep(600)
        os._exit(0)
    return os.read(heard, 4).decode()


def pair():
    one, other = socket.socketpair()
    one.send(b"x")
    return other.recv(1)


TOOLS = {
    "read": lambda a: open(a["path"]).read(),
    "write": lambda a: open(a["path"], "w").write("x"),
    "list": lambda a: os.listdir(a["path"]),
    "truncate": lambda a: os.truncate(a["path"], 0),
    "tcp": lambda a: tcp(a["port"]),
    "udp": lambda a: udp(a["port"]),
    "named": lambda a: named(a["path"]),
    "abstract": lambda a: named("\0" + a["name"]),
    "pair": lambda a: pair(),
    "fork": lambda a: fork(a["most"]),
    "eat": lambda a: eat(a["mib"]),
    "spin": lambda a: spin(),
    "daemon": lambda a: daemon(),
    "signal": lambda a: os.kill(a["pid"], 0),
    "run": lambda a: subprocess.run(a["command"], capture_output=True, text=True, check=True).stdout,
    "pid": lambda a: os.getpid(),
}


def tried(what, arguments):
    try:
        return {"got": str(what(arguments))[:300]}
    except BaseException as error:
        return {"refused": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    message = json.loads(line)
    number, method, params = message.get("id"), message["method"], message.get("params") or {}
    if number is None:
        continue
    answer = {"jsonrpc": "2.0", "id": number}
    if method == "initialize":
        info = {"name": "attack", "version": "1"}
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    elif method == "tools/list":
        answer["result"] = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    elif method == "tools/call":
        told = tried(TOOLS[params["name"]], params.get("arguments") or {})
        answer["result"] = {"content": [{"type": "text", "text": json.dumps(told)}]}
    else:
        answer["error"] = {"code": -32601, "message": "no"}
    print(json.dumps(answer), flush=True)
