mod harness;
mod launch;
mod life;
mod operation;
mod partition;
mod reconcile;
