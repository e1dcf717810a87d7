mod harness;
mod launch;
mod life;
mod partition;
mod reconcile;
