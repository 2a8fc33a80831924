//! WebSocket over TCP and DNS.
