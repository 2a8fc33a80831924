use super::*;

#[test]
fn only_what_the_broker_can_connect_to_is_sent_and_each_once() {
    let taken = [
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/192.0.2.1/tcp/80/ws",
        "/ip6/2001:db8::1/tcp/4001",
        "/ip6/2001:db8::1/tcp/80/ws",
    ];
    let refused = [
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1/tcp/443/wss",
        "/ip4/192.0.2.1/tcp/443/tls/ws",
        "/ip4/192.0.2.1/tcp/80/x-parity-ws/%2fpath",
        "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWBKufiKEUe6VVdMpPNENav68ZeF1b9mzVvV8G191qYjZk",
        "/ip4/192.0.2.1/tcp/80/ws/p2p/12D3KooWBKufiKEUe6VVdMpPNENav68ZeF1b9mzVvV8G191qYjZk",
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/ip4/192.0.2.1",
        "/dns4/example.com/tcp/4001",
        "/tcp/4001",
    ];
    let all = refused.iter().chain(&taken).chain(&taken);
    let all: Vec<Multiaddr> = all.map(|address| address.parse().unwrap()).collect();
    assert_eq!(reachable(&all), taken);
    let many: Vec<_> = (1..100)
        .map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap())
        .collect();
    assert_eq!(reachable(&many).len(), MAX_ADDRESSES);
}
