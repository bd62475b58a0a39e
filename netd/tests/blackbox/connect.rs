//! Networks of a run that lives change.

use netd_api::{Connect, Disconnect, NetworksChanged, Protocol};

use crate::support::*;

fn connect(host: &mut Sandbox, run: &base::RunId, network: &base::NetworkId) -> NetworksChanged {
    let body = Connect {
        run: run.clone(),
        endpoint: endpoint(network),
    };
    host.call(&run.to_string(), &body).unwrap()
}

fn disconnect(host: &mut Sandbox, run: &base::RunId, network: &base::NetworkId) -> NetworksChanged {
    let body = Disconnect {
        run: run.clone(),
        network: network.clone(),
    };
    host.call(&run.to_string(), &body).unwrap()
}

#[test]
fn ports_and_the_default_route_follow_the_networks() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mine = host.network(network("mine"));
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::new(&attached.namespace, 80);
    let reached = |host: &Sandbox| server.reach(&host.outside, (HOST, 8080).into());
    let joined = connect(&mut host, &request.run, &mine.id).attached;
    let names: Vec<_> = joined.endpoints.iter().map(|it| &it.interface).collect();
    assert_eq!(names, ["eth0", "eth1"]);
    let embedded = netd::resolver::EMBEDDED;
    assert_eq!(joined.resolver.servers, [std::net::IpAddr::from(embedded)]);
    assert_eq!(reached(&host), Some(OUTSIDE));
    // What was asked again is answered the same.
    assert_eq!(connect(&mut host, &request.run, &mine.id).attached, joined);
    let left = disconnect(&mut host, &request.run, &bridge).attached;
    assert_eq!(left.endpoints.len(), 1);
    assert_eq!(reached(&host), Some(OUTSIDE), "the port follows");
    let again = connect(&mut host, &request.run, &bridge).attached;
    let again = again.endpoint_on(&bridge).unwrap();
    assert_eq!(again.interface, "eth0", "the free name");
    disconnect(&mut host, &request.run, &bridge);
    let alone = disconnect(&mut host, &request.run, &mine.id).attached;
    assert_eq!((alone.endpoints.len(), alone.ports.len()), (0, 0));
    assert_eq!((host.published(), reached(&host)), (0, None));
    // The port is free for others, and published again with the next network.
    let late = connect(&mut host, &request.run, &mine.id).attached;
    assert_eq!(late.ports.len(), 1);
    assert_eq!(reached(&host), Some(OUTSIDE));
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
}

#[test]
fn what_changed_survives_the_daemon_and_goes_with_the_run() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mine = host.network(network("mine"));
    let request = attach(&[&bridge]);
    host.attach(&request);
    connect(&mut host, &request.run, &mine.id);
    disconnect(&mut host, &request.run, &bridge);
    let links = host.links();
    host.kill();
    host.start(&[]);
    assert_eq!(host.links(), links);
    let leases = netd_api::query::leases(&host.instance).unwrap();
    assert_eq!(leases[0].attached.endpoints[0].network, mine.id);
    host.detach(&request.run);
    host.remove_network(&mine.id).unwrap();
}

#[test]
fn what_cannot_be_joined_is_refused_and_leaves_nothing() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mine = host.network(network("mine"));
    let request = attach(&[&bridge]);
    host.attach(&request);
    let links = host.links();
    let refused = |host: &mut Sandbox, run: &base::RunId, endpoint| {
        let body = Connect {
            run: run.clone(),
            endpoint,
        };
        host.call(&run.to_string(), &body).unwrap_err().to_string()
    };
    let mut again = endpoint(&bridge);
    again.aliases.push("other".to_owned());
    let error = refused(&mut host, &request.run, again);
    assert!(
        error.contains("already exists in network bridge"),
        "{error}"
    );
    let mut outside = endpoint(&mine.id);
    outside.ipv4 = Some(std::net::Ipv4Addr::new(9, 9, 9, 9));
    refused(&mut host, &request.run, outside);
    let error = refused(&mut host, &run(), endpoint(&mine.id));
    assert!(error.contains("no networks that could change"), "{error}");
    let lease = netd_api::query::leases(&host.instance).unwrap().remove(0);
    assert_eq!(lease.attached.endpoints.len(), 1);
    assert_eq!(host.links(), links);
}
