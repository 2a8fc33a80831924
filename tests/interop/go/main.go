// A go-libp2p node driven by a line protocol on stdin and stdout; see ../README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
)

const (
	echoProtocol = "/echo/1.0.0"
	topicName    = "_peer-discovery._p2p._pubsub"
	// Far more than anything takes on a busy machine.
	patience = time.Minute
)

var stdout sync.Mutex

// A host, the certificate of its wss listeners, and what it has subscribed to.
type node struct {
	host.Host
	certificate *certificate
	gossipsub   *pubsub.PubSub
	topics      sync.Map
}

// As its files had it when they were last read.
type certificate struct {
	chain, key string
	read       atomic.Pointer[tls.Certificate]
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.chain, c.key)
	if err == nil {
		c.read.Store(&pair)
	}
	return err
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.read.Load(), nil
}

func say(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	stdout.Lock()
	defer stdout.Unlock()
	fmt.Println(line)
}

type list []string

func (l *list) String() string         { return strings.Join(*l, ",") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

func main() {
	var listen, dials list
	flag.Var(&listen, "listen", "a multiaddr to listen on; may be repeated")
	flag.Var(&dials, "dial", "a multiaddr to dial; may be repeated")
	share := flag.Bool("share", false, "let TCP, ws and wss share a port")
	trust := flag.String("trust", "", "the file of a certificate to trust when dialling")
	cert := flag.String("cert", "", "the file of the certificate chain of wss listeners")
	key := flag.String("key", "", "the file of the private key of that certificate")
	announce := flag.Duration("announce", 0, "announce itself on the topic of discovery at this interval")
	flag.Parse()

	node, err := start(listen, *share, *trust, *cert, *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("started %s", node.ID())
	for _, address := range node.Addrs() {
		say("listening %s/p2p/%s", address, node.ID())
	}
	if *announce > 0 {
		go node.announce(*announce)
	}
	for _, address := range dials {
		go run(node, "dial "+address)
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		go run(node, input.Text())
	}
}

func start(listen []string, share bool, trust, cert, key string) (*node, error) {
	var ws []any
	if trust != "" {
		pem, err := os.ReadFile(trust)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + trust)
		}
		ws = append(ws, websocket.WithTLSClientConfig(&tls.Config{RootCAs: roots}))
	}
	served := &certificate{chain: cert, key: key}
	if cert != "" {
		if err := served.load(); err != nil {
			return nil, err
		}
		ws = append(ws, websocket.WithTLSConfig(&tls.Config{GetCertificate: served.get}))
	}
	options := []libp2p.Option{
		libp2p.ListenAddrStrings(listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(websocket.New, ws...),
		libp2p.DisableRelay(),
		// By default a peer may have some tens of streams of a protocol.
		libp2p.ResourceManager(&network.NullResourceManager{}),
		// And of more than 192 connections the others are closed.
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
	}
	if len(listen) == 0 {
		options = append(options, libp2p.NoListenAddrs)
	}
	if share {
		options = append(options, libp2p.ShareTCPListener())
	}
	host, err := libp2p.New(options...)
	if err != nil {
		return nil, err
	}
	host.SetStreamHandler(echoProtocol, func(stream network.Stream) {
		if _, err := io.Copy(stream, stream); err != nil {
			stream.Reset()
			return
		}
		stream.Close()
	})
	host.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, connection network.Conn) {
			if connection.Stat().Direction == network.DirInbound {
				say("incoming %s %s", connection.RemotePeer(), connection.RemoteMultiaddr())
			}
			say("connected %s", connection.RemotePeer())
		},
		DisconnectedF: func(_ network.Network, connection network.Conn) {
			say("disconnected %s", connection.RemotePeer())
		},
	})
	identified, err := host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return nil, err
	}
	go func() {
		for found := range identified.Out() {
			found := found.(event.EvtPeerIdentificationCompleted)
			say("identified %s %s %s", found.Peer, strings.ReplaceAll(found.AgentVersion, " ", "_"), strings.Join(protocol.ConvertToStrings(found.Protocols), ","))
		}
	}()
	gossipsub, err := pubsub.NewGossipSub(context.Background(), host)
	if err != nil {
		return nil, err
	}
	node := &node{Host: host, certificate: served, gossipsub: gossipsub}
	return node, node.subscribe(topicName)
}

// Prints what is published on a topic.
func (node *node) subscribe(name string) error {
	topic, err := node.gossipsub.Join(name)
	if err != nil {
		return err
	}
	subscription, err := topic.Subscribe()
	if err != nil {
		return err
	}
	node.topics.Store(name, topic)
	go func() {
		for {
			message, err := subscription.Next(context.Background())
			if err != nil {
				say("error subscription: %s", err)
				return
			}
			say("message %s %s %x %s", message.GetFrom(), name, message.Data, node.ID())
		}
	}()
	return nil
}

// Publishes once somebody has subscribed.
func (node *node) publish(ctx context.Context, name, payload string) error {
	topic, found := node.topics.Load(name)
	if !found {
		return errors.New("not subscribed")
	}
	data, err := hex.DecodeString(payload)
	if err != nil {
		return err
	}
	return topic.(*pubsub.Topic).Publish(ctx, data, pubsub.WithReadiness(pubsub.MinTopicSize(1)))
}

func run(node *node, line string) {
	if err := command(node, strings.Fields(line)); err != nil {
		say("error %s: %s", line, err)
	}
}

func command(node *node, words []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch {
	case len(words) == 2 && words[0] == "dial":
		_, err := dial(ctx, node, words[1])
		return err
	case len(words) == 2 && words[0] == "ping":
		return pingPeer(ctx, node, words[1])
	case len(words) == 3 && words[0] == "echo":
		length, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		if err := echo(ctx, node, words[1], length); err != nil {
			return err
		}
		say("echo ok %d", length)
		return nil
	case len(words) == 3 && words[0] == "streams":
		count, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		return streams(ctx, node, words[1], count)
	case len(words) == 2 && words[0] == "subscribe":
		if err := node.subscribe(words[1]); err != nil {
			return err
		}
		say("subscribed %s", words[1])
		return nil
	case len(words) == 3 && words[0] == "publish":
		if err := node.publish(ctx, words[1], words[2]); err != nil {
			return err
		}
		say("published %s", words[1])
		return nil
	case len(words) == 2 && words[0] == "close":
		id, err := peer.Decode(words[1])
		if err != nil {
			return err
		}
		return node.Network().ClosePeer(id)
	case len(words) == 1 && words[0] == "reload":
		if err := node.certificate.load(); err != nil {
			return err
		}
		say("reloaded")
		return nil
	case len(words) == 1 && words[0] == "shutdown":
		if err := node.Close(); err != nil {
			return err
		}
		say("closed")
		return nil
	default:
		return errors.New("the commands are dial, ping, echo, streams, subscribe, publish and close")
	}
}

// The peer of an address, once it is connected, or of an id.
func dial(ctx context.Context, node *node, target string) (peer.ID, error) {
	if !strings.HasPrefix(target, "/") {
		return peer.Decode(target)
	}
	info, err := peer.AddrInfoFromString(target)
	if err != nil {
		return "", err
	}
	// Only the address that is given, and none that the peer has told of itself.
	if node.Network().Connectedness(info.ID) != network.Connected {
		node.Peerstore().ClearAddrs(info.ID)
	}
	return info.ID, node.Connect(ctx, *info)
}

func echo(ctx context.Context, node *node, target string, length int) error {
	id, err := dial(ctx, node, target)
	if err != nil {
		return err
	}
	stream, err := node.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return err
	}
	return exchange(stream, length)
}

// Sends random bytes and wants them back.
func exchange(stream network.Stream, length int) error {
	defer stream.Reset()
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make([]byte, length)
	rand.Read(sent)
	failed := make(chan error, 1)
	go func() {
		_, err := stream.Write(sent)
		failed <- errors.Join(err, stream.CloseWrite())
	}()
	back, err := io.ReadAll(stream)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	if !bytes.Equal(sent, back) {
		return fmt.Errorf("other bytes came back, %d of %d", len(back), length)
	}
	return nil
}

// Opens all of them before it uses the first.
func streams(ctx context.Context, node *node, target string, count int) error {
	id, err := dial(ctx, node, target)
	if err != nil {
		return err
	}
	opened := make(chan network.Stream, count)
	failed := make(chan error, count)
	for range count {
		go func() {
			stream, err := node.NewStream(ctx, id, echoProtocol)
			if err != nil {
				failed <- err
				return
			}
			// Its protocol is negotiated only when there is something to send.
			if _, err := stream.Write([]byte{0}); err != nil {
				failed <- err
				return
			}
			if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
				failed <- err
				return
			}
			opened <- stream
		}()
	}
	all := make([]network.Stream, 0, count)
	for range count {
		select {
		case stream := <-opened:
			all = append(all, stream)
		case err := <-failed:
			return err
		}
	}
	for _, stream := range all {
		go func() { failed <- exchange(stream, 1000) }()
	}
	for range count {
		if err := <-failed; err != nil {
			return err
		}
	}
	say("streams ok %d", count)
	return nil
}

func pingPeer(ctx context.Context, node *node, target string) error {
	id, err := dial(ctx, node, target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if result := <-ping.Ping(ctx, node, id); result.Error != nil {
		return result.Error
	}
	say("pong %s", target)
	return nil
}
