//! References, registry client, content store, layers.
