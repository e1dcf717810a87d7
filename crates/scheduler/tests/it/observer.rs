//! Reading endpoints: redirects, masters that are away, refusals.

use scheduler::Observer;

use crate::master::Master;

#[tokio::test]
async fn a_redirect_leads_to_the_leader_and_a_dead_master_to_the_next() {
    let (gone, standby, leader) =
        (Master::start().await, Master::start().await, Master::start().await);
    let addresses = format!("{},{}", gone.address, standby.address);
    drop(gone);
    let reading = tokio::spawn(async move {
        let mut observer = Observer::new(&addresses).expect("addresses");
        observer.get("/state").await
    });
    let location = format!("Location: //{}/state\r\n", leader.address);
    standby.accept().await.answer("307 Temporary Redirect", &location, "").await;
    leader.accept().await.answer("200 OK", "", "{}").await;
    assert_eq!(reading.await.expect("ran").expect("read").as_ref(), b"{}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_masters_words() {
    let master = Master::start().await;
    let address = master.address.clone();
    let reading =
        tokio::spawn(
            async move { Observer::new(&address).expect("an address").get("/nothing").await },
        );
    master.accept().await.answer("400 Bad Request", "", "no such thing").await;
    let text = reading.await.expect("ran").expect_err("refused").to_string();
    assert!(text.contains("GET: 400 no such thing"), "{text}");
}
