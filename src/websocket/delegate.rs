/// Makes a transport, and what `lazy` wraps, of the newtype `Transport` around one.
macro_rules! delegate {
    () => {
        impl $crate::lazy::Inner for Transport {
            fn support(&self, address: &::multiaddr::Multiaddr) -> $crate::lazy::Support {
                self.0.support(address)
            }

            fn poll_changed(
                &mut self,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<$crate::lazy::Changed> {
                self.0.poll_changed(cx)
            }
        }

        impl ::libp2p_core::Transport for Transport {
            type Output = $crate::websocket::Connection;
            type Error = $crate::websocket::Error;
            type ListenerUpgrade =
                ::futures::future::BoxFuture<'static, Result<Self::Output, Self::Error>>;
            type Dial = Self::ListenerUpgrade;

            fn listen_on(
                &mut self,
                id: ::libp2p_core::transport::ListenerId,
                addr: ::multiaddr::Multiaddr,
            ) -> Result<(), ::libp2p_core::transport::TransportError<Self::Error>> {
                self.0.listen_on(id, addr)
            }

            fn remove_listener(&mut self, id: ::libp2p_core::transport::ListenerId) -> bool {
                self.0.remove_listener(id)
            }

            fn dial(
                &mut self,
                addr: ::multiaddr::Multiaddr,
                opts: ::libp2p_core::transport::DialOpts,
            ) -> Result<Self::Dial, ::libp2p_core::transport::TransportError<Self::Error>> {
                self.0.dial(addr, opts)
            }

            fn poll(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<
                ::libp2p_core::transport::TransportEvent<Self::ListenerUpgrade, Self::Error>,
            > {
                ::std::pin::Pin::new(&mut self.0).poll(cx)
            }
        }
    };
}
pub(super) use delegate;
