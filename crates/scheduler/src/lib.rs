//! The scheduler's side of a Mesos cluster: for those who write frameworks.
//!
//! A framework subscribes at the master, is offered resources, launches tasks on them and hears
//! what becomes of those. [`Builder::subscribe`] starts that and returns two handles: [`Events`]
//! to hear and [`Scheduler`] to act. Behind them one task keeps the subscription up: it follows
//! redirects to the leader, watches heartbeats, subscribes again after a loss, with growing
//! pauses, and keeps the framework's id so that tasks outlive the process. Updates are
//! acknowledged when the event after them is asked for.
//!
//! It speaks scheduler API v1 (HTTP; protobuf or JSON) and so works with any Mesos master from
//! 1.0 on. Not here: TLS, executors.
//!
//! ```no_run
//! use std::time::Duration;
//! use scheduler::{Builder, Event, Framework, Task};
//!
//! # async fn run() -> scheduler::Result<()> {
//! let task = Task::shell("hello", "echo hello; sleep 5").cpus(0.5).mem_mb(64.0);
//! let framework = Framework::new("hello");
//! let (scheduler, mut events) = Builder::new("localhost:5050", framework).subscribe()?;
//! let mut launched = false;
//! while let Some(event) = events.next().await? {
//!     match event {
//!         Event::Offers(offers) => {
//!             for mut offer in offers {
//!                 match offer.place(&task).filter(|_| !launched) {
//!                     Some(placed) => {
//!                         launched = true;
//!                         scheduler.launch(&offer, [placed]).await?;
//!                     }
//!                     None => scheduler.decline([offer.id()], Duration::from_secs(60)).await?,
//!                 }
//!             }
//!         }
//!         Event::Update(update) => {
//!             println!("{update}");
//!             if update.is_terminal() {
//!                 scheduler.teardown().await?;
//!             }
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Offers can be looked at without any master:
//!
//! ```
//! use scheduler::{Offer, Task, scalar};
//! let mut message = scheduler::v1::Offer { hostname: "a1".into(), ..Default::default() };
//! message.resources = vec![scalar("cpus", 1.0), scalar("mem", 1024.0)];
//! let mut offer = Offer::from(message);
//! let task = Task::docker("web", "nginx").cpus(0.4).mem_mb(512.0);
//! assert!(offer.place(&task).is_some());
//! assert_eq!((offer.cpus(), offer.mem_mb()), (0.6, 512.0));
//! assert!(offer.place(&task).is_some());
//! assert!(offer.place(&task).is_none()); // 0.2 processors are left
//! ```

#![warn(missing_docs)]

mod backoff;
mod driver;
mod encoding;
mod error;
mod event;
mod framework;
mod http;
mod id;
mod masters;
mod observer;
mod offer;
mod session;
mod store;
mod task;
mod update;

pub use driver::{Builder, Events, Scheduler};
pub use encoding::Encoding;
pub use error::{Error, Result};
pub use event::{Event, Subscribed};
pub use framework::{CapabilityType, Framework};
pub use id::random_task_id;
/// The messages of the API, for what has no type here.
pub use mesos_api::v1;
pub use mesos_api::v1::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
pub use observer::Observer;
pub use offer::Offer;
pub use task::{Network, Task, scalar};
pub use update::{Reason, Source, TaskState, TaskUpdate};
