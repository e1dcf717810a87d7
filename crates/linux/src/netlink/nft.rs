//! nftables as transactions: a [`Batch`] of objects that the kernel takes as a whole or not at all.
//!
//! Messages are those of `netlink-packet-netfilter`; the expressions it has no type for (nat, fib,
//! ct, masquerade) are written out in `expression.rs`.

mod batch;
mod expression;

pub use batch::{
    BaseChain, Batch, ChainKind, Element, ElementChange, ForeignChain, Hook, Keys, Map, Nftables,
};
pub use expression::{AddressKind, CtState, Expression, Transport, Verdict};
