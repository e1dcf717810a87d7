//! Networks of one host: bridge, addresses, published ports.
