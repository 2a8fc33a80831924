//! A certificate that browsers trust, for a node without a domain of its own (AutoTLS).
