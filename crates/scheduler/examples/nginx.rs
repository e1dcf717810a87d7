//! The walkthrough's framework: one Docker task with the host's network, nginx in the foreground.
//!
//! usage: nginx MASTER [IMAGE]

use std::time::Duration;

use scheduler::{Builder, Event, Framework, Network, Task};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let master = words.next().ok_or("usage: nginx MASTER [IMAGE]")?;
    let image = words.next().unwrap_or_else(|| "mydocker:v4".to_owned());

    let task = Task::docker("mydocker", image)
        .network(Network::Host)
        .arguments(["/bin/bash", "/run.sh"])
        .cpus(0.1)
        .mem_mb(32.0);
    let framework = Framework::new("mydocker").failover_timeout(Duration::from_secs(100));
    let (scheduler, mut events) = Builder::new(master, framework).subscribe()?;
    let mut launched = false;

    while let Some(event) = events.next().await? {
        match event {
            Event::Subscribed(subscribed) => println!("registered {}", subscribed.framework_id),
            Event::Offers(offers) => {
                for mut offer in offers {
                    match offer.place(&task).filter(|_| !launched) {
                        Some(placed) => {
                            launched = true;
                            println!("launched {} on {}", placed.task_id.value, offer.hostname());
                            scheduler.launch(&offer, [placed]).await?;
                        }
                        None => scheduler.decline([offer.id()], Duration::from_secs(5)).await?,
                    }
                }
            }
            Event::Update(update) => {
                println!("status {update}");
                if update.is_terminal() {
                    scheduler.teardown().await?;
                }
            }
            Event::Disconnected { cause } => eprintln!("disconnected: {cause}"),
            _ => {}
        }
    }
    Ok(())
}
