//! Listeners that bind when the swarm polls.
