# A py-libp2p node driven by a line protocol on stdin and stdout; see ../README.md.

import argparse
import os
import secrets
import ssl
import sys
import traceback

import trio
from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, PROTOCOL_ID_V12
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

ECHO = TProtocol("/echo/1.0.0")
TOPIC = "_peer-discovery._p2p._pubsub"
CHUNK = 64 * 1024
# Far more than anything takes on a busy machine.
PATIENCE = 60


def say(*words):
    line = " ".join(map(str, words)).replace("\n", " ")
    print(line, flush=True)


class Told(INotifee):
    def __init__(self, node):
        self.node = node

    async def connected(self, network, connection):
        say("connected", connection.muxed_conn.peer_id)
        self.node.nursery.start_soon(self.node.identified, connection.muxed_conn.peer_id)

    async def disconnected(self, network, connection):
        say("disconnected", connection.muxed_conn.peer_id)

    async def opened_stream(self, network, stream):
        pass

    async def closed_stream(self, network, stream):
        pass

    async def listen(self, network, address):
        pass

    async def listen_close(self, network, address):
        pass


async def echo(stream):
    try:
        while chunk := await read(stream, CHUNK):
            await stream.write(chunk)
        await stream.close_write() if hasattr(stream, "close_write") else await stream.close()
    except Exception as error:
        print("echo:", repr(error), file=sys.stderr)
        await stream.reset()


# Some streams tell of their end by an exception.
async def read(stream, count):
    try:
        return await stream.read(count)
    except Exception as error:
        if "EOF" in type(error).__name__:
            return b""
        raise


async def exchange(stream, length):
    sent = secrets.token_bytes(length)
    back = bytearray()

    async def send():
        for at in range(0, length, CHUNK):
            await stream.write(sent[at : at + CHUNK])
        await (stream.close_write() if hasattr(stream, "close_write") else stream.close())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(back) < length:
            chunk = await read(stream, CHUNK)
            if not chunk:
                break
            back += chunk
    if back != sent:
        raise ValueError(f"other bytes came back, {len(back)} of {length}")


class Node:
    def __init__(self, host, nursery, pubsub):
        self.host, self.nursery, self.pubsub = host, nursery, pubsub

    async def identified(self, peer):
        while self.host.get_network().get_connections(peer):
            try:
                protocols = self.host.get_peerstore().get_protocols(peer)
            except Exception:
                protocols = []
            if protocols:
                return say("identified", peer, "-", ",".join(protocols))
            await trio.sleep(0.05)

    async def subscribe(self, topic):
        subscription = await self.pubsub.subscribe(topic)

        async def receive():
            async for message in subscription:
                say("message", ID(message.from_id), topic, message.data.hex(), self.host.get_id())

        self.nursery.start_soon(receive)

    # Once somebody to whom there is a stream has subscribed.
    async def publish(self, topic, payload):
        while not any(peer in self.pubsub.peers for peer in self.pubsub.peer_topics.get(topic, ())):
            await trio.sleep(0.05)
        await self.pubsub.publish(topic, bytes.fromhex(payload))

    async def command(self, line):
        try:
            with trio.fail_after(PATIENCE):
                match line.split():
                    case ["dial", address]:
                        info = info_from_p2p_addr(Multiaddr(address))
                        # It says that a connection is closed before it stops to use it.
                        while self.host.get_network().get_connections(info.peer_id):
                            await trio.sleep(0.01)
                        # Those that it knows by identify might be dialled in place of this one.
                        self.host.get_peerstore().clear_addrs(info.peer_id)
                        await self.host.connect(info)
                    case ["ping", peer]:
                        await PingService(self.host).ping(ID.from_string(peer))
                        say("pong", peer)
                    case ["echo", peer, length]:
                        stream = await self.host.new_stream(ID.from_string(peer), [ECHO])
                        await exchange(stream, int(length))
                        say("echo ok", length)
                    case ["streams", peer, count]:
                        await self.streams(ID.from_string(peer), int(count))
                        say("streams ok", count)
                    case ["subscribe", topic]:
                        await self.subscribe(topic)
                        say("subscribed", topic)
                    case ["publish", topic, payload]:
                        await self.publish(topic, payload)
                        say("published", topic)
                    case ["close", peer]:
                        await self.host.disconnect(ID.from_string(peer))
                    case _:
                        raise ValueError("there is no such command")
        except Exception as error:
            text = "".join(traceback.format_exception(error)) if os.environ.get("TRACE") else chain(error)
            say(f"error {line}:", text)

    # All are open before the first is used.
    async def streams(self, peer, count):
        opened = []

        async def open_one():
            opened.append(await self.host.new_stream(peer, [ECHO]))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(open_one)
        async with trio.open_nursery() as nursery:
            for stream in opened:
                nursery.start_soon(exchange, stream, 1000)


def chain(error):
    text = repr(error)
    for cause in getattr(error, "exceptions", ()):
        text += ": " + chain(cause)
    if error.__cause__ is not None:
        text += ": " + chain(error.__cause__)
    return text


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--trust")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()

    client = ssl.create_default_context(cafile=options.trust)
    server = None
    # With it, a listener without TLS would serve TLS as well.
    if any("/tls/" in address for address in options.listen):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(options.cert, options.key)
    listen = [Multiaddr(address) for address in options.listen]
    host = new_host(
        key_pair=create_new_key_pair(),
        listen_addrs=listen or None,
        enable_tcp=True,
        enable_websocket=True,
        tls_client_config=client,
        tls_server_config=server,
    )
    host.set_stream_handler(ECHO, echo)
    gossipsub = GossipSub([PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID], 6, 4, 12, heartbeat_interval=1)
    pubsub = Pubsub(host, gossipsub)
    async with host.run(listen), background_trio_service(pubsub), background_trio_service(gossipsub):
        await pubsub.wait_until_ready()
        async with trio.open_nursery() as nursery:
            node = Node(host, nursery, pubsub)
            host.get_network().register_notifee(Told(node))
            await node.subscribe(TOPIC)
            say("started", host.get_id())
            for address in host.get_addrs() if listen else []:
                say("listening", address)
            async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
                buffer = b""
                while chunk := await stdin.receive_some():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        nursery.start_soon(node.command, line.decode())
            nursery.cancel_scope.cancel()


trio.run(main)
