//! Requests to addresses that a client names: never to private ones, never along a redirect.
