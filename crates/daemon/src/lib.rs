//! Docker Engine API server: configuration, listeners, routes.
