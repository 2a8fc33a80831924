package main

import (
	"context"
	"encoding/binary"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// As pubsub-peer-discovery does: a protobuf of the public key and of the addresses.
func (node *node) announce(interval time.Duration) {
	topic, _ := node.topics.Load(topicName)
	key, err := crypto.MarshalPublicKey(node.Peerstore().PubKey(node.ID()))
	if err != nil {
		say("error announce: %s", err)
		return
	}
	for ; ; time.Sleep(interval) {
		payload := field(nil, 1, key)
		for _, address := range node.Addrs() {
			payload = field(payload, 2, address.Bytes())
		}
		if err := topic.(*pubsub.Topic).Publish(context.Background(), payload); err != nil {
			say("error announce: %s", err)
		}
	}
}

func field(payload []byte, number byte, value []byte) []byte {
	payload = binary.AppendUvarint(append(payload, number<<3|2), uint64(len(value)))
	return append(payload, value...)
}
