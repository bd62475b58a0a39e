//! The daemon killed at every step of what it does: afterwards a new daemon
//! leaves no trace of what was not finished, and works.

use netd_api::{Connect, CreateNetwork, Detach, Disconnect, PoolRequest, Protocol};

use crate::support::*;

/// More steps than this no scenario has.
const STEPS: u64 = 60;

/// Kills netd at every step of `scenario` in turn, restarts it, and checks.
fn at_every_step(scenario: impl Fn(&mut Sandbox)) {
    for step in 1..=STEPS {
        let mut host = Sandbox::without_netd();
        host.start(&["--fault-step", &step.to_string()]);
        if !host.has_died() {
            scenario(&mut host);
        }
        let died = host.kill_unless_dead();
        host.start(&[]);
        check(&mut host);
        if !died {
            assert!(step > 5, "no step was reached");
            return;
        }
    }
    panic!("more than {STEPS} steps");
}

/// Whatever was left of an unfinished request is gone, and a new one works.
fn check(host: &mut Sandbox) {
    for name in host.leases() {
        let run = name.strip_suffix(".json").unwrap().parse().unwrap();
        host.detach(&run);
    }
    until("no intents", || host.intents().is_empty());
    assert_eq!((host.namespaces().len(), host.published()), (0, 0));
    let bridges = host.links().len();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::new(&attached.namespace, 80);
    assert_eq!(
        server.reach(&host.outside, (HOST, 8080).into()),
        Some(OUTSIDE)
    );
    host.detach(&request.run);
    assert!(host.links().len() <= bridges + 1, "{:?}", host.links());
    assert!(host.stop());
    assert_eq!(host.links(), Vec::<String>::new());
    for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        assert_eq!(netd::sysctl::read(setting).unwrap(), "0", "{setting}");
    }
}

#[test]
fn killed_at_any_step_of_attach_and_detach_it_leaves_nothing() {
    at_every_step(|host| {
        // It may die only now, before it has made one.
        let Some(bridge) = host.find_network("bridge") else {
            return;
        };
        let mut request = attach(&[&bridge.id]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        let body = Detach {
            run: request.run.clone(),
        };
        if host.try_attach(&request).is_ok() {
            host.call(&request.run.to_string(), &body).ok();
        }
    });
}

#[test]
fn killed_at_any_step_of_a_network_it_leaves_nothing() {
    at_every_step(|host| {
        let request = network("mine");
        if let Ok(made) = host.try_network(request) {
            host.remove_network(&made.id).ok();
        }
    });
}

#[test]
fn killed_at_any_step_of_a_release_after_an_exit_it_leaves_nothing() {
    at_every_step(|host| {
        // It may die only now, before it has made one.
        let Some(bridge) = host.find_network("bridge") else {
            return;
        };
        let mut request = attach(&[&bridge.id]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        if host.try_attach(&request).is_ok() {
            host.exited(&request.run);
            host.wait_while_alive(|host| host.leases().is_empty() && host.intents().is_empty());
        }
    });
}

#[test]
fn killed_at_any_step_of_connect_and_disconnect_it_leaves_nothing() {
    at_every_step(|host| {
        let Some(bridge) = host.find_network("bridge") else {
            return;
        };
        let mut request = attach(&[&bridge.id]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        let Ok(made) = host.try_network(network("mine")) else {
            return;
        };
        if host.try_attach(&request).is_err() {
            return;
        }
        let (run, subject) = (&request.run, request.run.to_string());
        let connect = Connect {
            run: run.clone(),
            endpoint: endpoint(&made.id),
        };
        let disconnect = |network: &netd_api::NetworkConfig| Disconnect {
            run: run.clone(),
            network: network.id.clone(),
        };
        // The published port and the default route move to the other network.
        host.call(&subject, &connect)
            .and_then(|_| host.call(&subject, &disconnect(&bridge)))
            .and_then(|_| host.call(&subject, &disconnect(&made)))
            .ok();
    });
}

#[test]
fn killed_at_any_step_with_ipv6_it_leaves_nothing() {
    at_every_step(|host| {
        let Some(bridge) = host.find_network("bridge") else {
            return;
        };
        let request = CreateNetwork {
            ipv6: Some(PoolRequest::default()),
            ..network("six")
        };
        let Ok(made) = host.try_network(request) else {
            return;
        };
        let mut request = attach(&[&bridge.id]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        if host.try_attach(&request).is_err() {
            return;
        }
        let (run, subject) = (&request.run, request.run.to_string());
        let connect = Connect {
            run: run.clone(),
            endpoint: endpoint(&made.id),
        };
        let disconnect = |network: &netd_api::NetworkConfig| Disconnect {
            run: run.clone(),
            network: network.id.clone(),
        };
        // The port is published in IPv6 too, then in IPv6's network alone.
        host.call(&subject, &connect)
            .and_then(|_| host.call(&subject, &disconnect(&bridge)))
            .and_then(|_| host.call(&subject, &Detach { run: run.clone() }))
            .and_then(|_| host.remove_network(&made.id))
            .ok();
    });
}
