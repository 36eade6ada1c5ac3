//! What every [`Directory`] must do, as one check that any implementation can run.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use super::{
    directory::Directory,
    node::{Holder, Node, NodeName},
};
use crate::id::TunnelId;

/// Runs a directory through its contract.
///
/// It must be empty at first, and nobody else may use it meanwhile. `lease` is the unit that the check
/// waits in, about eight of them in all: long enough that an operation and a stall of the machine
/// fit in half of it. Time is tokio's: with paused time a directory in memory is checked at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::{sync::Arc, time::Duration};
/// use tunnel_proto::cluster::{MemoryDirectory, conformance};
///
/// conformance::check(Arc::new(MemoryDirectory::new()), Duration::from_secs(15)).await;
/// # }
/// ```
///
/// # Panics
///
/// If the directory breaks the contract, with the rule that it broke.
pub async fn check<D: Directory + Clone>(directory: D, lease: Duration) {
    absent_is_an_answer(&directory).await;
    entries_are_independent(&directory, lease).await;
    announcing_again_replaces(&directory, lease).await;
    leases_run_out_one_by_one(&directory, lease).await;
    renewing_keeps(&directory, lease).await;
    many_at_once(&directory, lease).await;
    many_nodes_at_once(directory, lease).await;
}

async fn absent_is_an_answer<D: Directory>(directory: &D) {
    expect(directory, tunnel(1), &[], "a tunnel that nobody announced has no nodes").await;
    let withdrawn = directory.withdraw(node("a").name(), &[tunnel(1)]).await;
    withdrawn.expect("withdrawing what was never announced is no error");
    directory.announce(&node("a"), &[], Duration::from_secs(1)).await.expect("nothing to announce");
    directory.withdraw(node("a").name(), &[]).await.expect("nothing to withdraw");
}

async fn entries_are_independent<D: Directory>(directory: &D, lease: Duration) {
    let (a, b) = (node("a"), node("b"));
    let long = lease * 100;
    announce(directory, &a, &[(tunnel(1), 4), (tunnel(2), 1)], long).await;
    announce(directory, &b, &[(tunnel(1), 2)], long).await;
    let rule = "every node that announced is found, with its own address and number";
    expect(directory, tunnel(1), &[(&a, 4), (&b, 2)], rule).await;
    expect(directory, tunnel(2), &[(&a, 1)], rule).await;
    withdraw(directory, &a, &[tunnel(1)]).await;
    let rule = "withdrawing takes that node's entry of that tunnel and no other";
    expect(directory, tunnel(1), &[(&b, 2)], rule).await;
    expect(directory, tunnel(2), &[(&a, 1)], rule).await;
    withdraw(directory, &a, &[tunnel(1), tunnel(2)]).await;
    withdraw(directory, &b, &[tunnel(1), tunnel(2)]).await;
    expect(directory, tunnel(1), &[], "withdrawing may be repeated").await;
}

async fn announcing_again_replaces<D: Directory>(directory: &D, lease: Duration) {
    let moved = Node::new(node("a").name().clone(), "[2001:db8::7]:7443").expect("an address");
    announce(directory, &node("a"), &[(tunnel(3), 4)], lease * 100).await;
    announce(directory, &moved, &[(tunnel(3), 1)], lease).await;
    let rule = "announcing again replaces address and number";
    expect(directory, tunnel(3), &[(&moved, 1)], rule).await;
    sleep(lease + SLACK).await;
    expect(directory, tunnel(3), &[], "announcing again replaces the lease, by a shorter one too")
        .await;
}

async fn leases_run_out_one_by_one<D: Directory>(directory: &D, lease: Duration) {
    let (a, b) = (node("a"), node("b"));
    announce(directory, &a, &[(tunnel(4), 1)], lease * 100).await;
    announce(directory, &b, &[(tunnel(4), 1)], lease).await;
    sleep(lease + SLACK).await;
    let rule = "one node's short lease runs out, and leaves another node's long one";
    expect(directory, tunnel(4), &[(&a, 1)], rule).await;
    withdraw(directory, &a, &[tunnel(4)]).await;
}

async fn renewing_keeps<D: Directory>(directory: &D, lease: Duration) {
    let a = node("a");
    for _ in 0..4 {
        announce(directory, &a, &[(tunnel(5), 1)], lease).await;
        sleep(lease / 2).await;
        expect(directory, tunnel(5), &[(&a, 1)], "a renewed lease holds, and no lease ends early")
            .await;
    }
    sleep(lease / 2 + SLACK).await;
    expect(directory, tunnel(5), &[], "a lease that is renewed no more runs out").await;
    announce(directory, &a, &[(tunnel(5), 1)], lease).await;
    expect(directory, tunnel(5), &[(&a, 1)], "what ran out can be announced again").await;
    withdraw(directory, &a, &[tunnel(5)]).await;
}

async fn many_at_once<D: Directory>(directory: &D, lease: Duration) {
    let a = node("a");
    let holdings: Vec<_> = (0..500).map(|number| (tunnel(1_000 + number), number + 1)).collect();
    let tunnels: Vec<_> = holdings.iter().map(|(tunnel, _)| *tunnel).collect();
    announce(directory, &a, &holdings, lease * 100).await;
    for (tunnel, connections) in &holdings {
        expect(directory, *tunnel, &[(&a, *connections)], "500 tunnels fit in one call").await;
    }
    withdraw(directory, &a, &tunnels).await;
    for tunnel in tunnels {
        expect(directory, tunnel, &[], "500 tunnels are withdrawn in one call").await;
    }
}

async fn many_nodes_at_once<D: Directory + Clone>(directory: D, lease: Duration) {
    let nodes: Vec<_> = (0..16).map(|number| node(&format!("n{number}"))).collect();
    let mut announcing = JoinSet::new();
    for node in nodes.clone() {
        let directory = directory.clone();
        announcing.spawn(async move {
            for connections in 1..=8 {
                announce(&directory, &node, &[(tunnel(6), connections)], lease * 100).await;
            }
        });
    }
    announcing.join_all().await;
    let all: Vec<_> = nodes.iter().map(|node| (node, 8)).collect();
    expect(&directory, tunnel(6), &all, "nodes that announce at once lose nothing").await;
    for node in &nodes {
        withdraw(&directory, node, &[tunnel(6)]).await;
    }
    expect(&directory, tunnel(6), &[], "nodes that withdraw leave nothing").await;
}

/// How late a lease may run out.
const SLACK: Duration = Duration::from_secs(1);

async fn announce<D: Directory>(
    directory: &D,
    node: &Node,
    holdings: &[(TunnelId, u32)],
    lease: Duration,
) {
    directory.announce(node, holdings, lease).await.expect("announcing works");
}

async fn withdraw<D: Directory>(directory: &D, node: &Node, tunnels: &[TunnelId]) {
    directory.withdraw(node.name(), tunnels).await.expect("withdrawing works");
}

async fn expect<D: Directory>(directory: &D, tunnel: TunnelId, nodes: &[(&Node, u32)], rule: &str) {
    let by_name = |holder: &Holder| -> NodeName { holder.node.name().clone() };
    let mut found = directory.find(tunnel).await.expect("finding works");
    let mut expected: Vec<_> =
        nodes.iter().map(|(node, n)| Holder::new((*node).clone(), *n)).collect();
    found.sort_by_key(by_name);
    expected.sort_by_key(by_name);
    assert!(found == expected, "{rule}: found {found:?}, expected {expected:?}");
}

fn node(name: &str) -> Node {
    let name: NodeName = format!("{name}.node.test").parse().expect("a name");
    let address = format!("{name}:7443");
    Node::new(name, &address).expect("an address")
}

fn tunnel(number: u32) -> TunnelId {
    let mut bytes = [0xc0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    TunnelId::from_bytes(bytes)
}
