// A go-libp2p node driven by a line protocol on stdin and stdout; see ../README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
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
	for _, address := range dials {
		go run(node, "dial "+address)
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		go run(node, input.Text())
	}
}

func start(listen []string, share bool, trust, cert, key string) (host.Host, error) {
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
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		ws = append(ws, websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}}))
	}
	options := []libp2p.Option{
		libp2p.ListenAddrStrings(listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(websocket.New, ws...),
		libp2p.DisableRelay(),
	}
	if len(listen) == 0 {
		options = append(options, libp2p.NoListenAddrs)
	}
	if share {
		options = append(options, libp2p.ShareTCPListener())
	}
	node, err := libp2p.New(options...)
	if err != nil {
		return nil, err
	}
	node.SetStreamHandler(echoProtocol, func(stream network.Stream) {
		if _, err := io.Copy(stream, stream); err != nil {
			stream.Reset()
			return
		}
		stream.Close()
	})
	node.Network().Notify(&network.NotifyBundle{
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
	return node, subscribe(node)
}

// Prints what is published on the topic of discovery.
func subscribe(node host.Host) error {
	gossipsub, err := pubsub.NewGossipSub(context.Background(), node)
	if err != nil {
		return err
	}
	topic, err := gossipsub.Join(topicName)
	if err != nil {
		return err
	}
	subscription, err := topic.Subscribe()
	if err != nil {
		return err
	}
	go func() {
		for {
			message, err := subscription.Next(context.Background())
			if err != nil {
				say("error subscription: %s", err)
				return
			}
			say("message %s %s %x %s", message.GetFrom(), topicName, message.Data, node.ID())
		}
	}()
	return nil
}

func run(node host.Host, line string) {
	if err := command(node, strings.Fields(line)); err != nil {
		say("error %s: %s", line, err)
	}
}

func command(node host.Host, words []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch {
	case len(words) == 2 && words[0] == "dial":
		_, err := dial(ctx, node, words[1])
		return err
	case len(words) == 3 && words[0] == "echo":
		length, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		return echo(ctx, node, words[1], length)
	default:
		return errors.New("the commands are dial and echo")
	}
}

// The peer of an address, once it is connected, or of an id.
func dial(ctx context.Context, node host.Host, target string) (peer.ID, error) {
	if !strings.HasPrefix(target, "/") {
		return peer.Decode(target)
	}
	info, err := peer.AddrInfoFromString(target)
	if err != nil {
		return "", err
	}
	return info.ID, node.Connect(ctx, *info)
}

func echo(ctx context.Context, node host.Host, target string, length int) error {
	id, err := dial(ctx, node, target)
	if err != nil {
		return err
	}
	stream, err := node.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return err
	}
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
	say("echo ok %d", length)
	return nil
}
