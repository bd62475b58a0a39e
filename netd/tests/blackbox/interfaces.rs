//! What an endpoint asks of its interface inside.

use events::CallError;
use netd_api::{Connect, EndpointRequest, InterfaceOptions, NetworkConfig};

use crate::support::*;

fn named(network: &NetworkConfig, name: &str) -> EndpointRequest {
    EndpointRequest {
        interface: InterfaceOptions {
            name: Some(name.to_owned()),
            sysctls: vec!["net.ipv4.conf.IFNAME.log_martians=1".parse().unwrap()],
        },
        ..endpoint(&network.id)
    }
}

#[test]
fn an_interface_of_the_containers_own_is_not_taken_over() {
    let mut host = Sandbox::new();
    let (first, second) = (
        host.network(network("first")),
        host.network(network("second")),
    );
    let request = attach(&[&first.id]);
    let attached = host.attach(&request);
    ip(&attached.namespace, "link add wan0 type bridge");
    let join = |name: &str| Connect {
        run: request.run.clone(),
        endpoint: named(&second, name),
    };
    let subject = request.run.to_string();
    match host.call(&subject, &join("wan0")) {
        Err(CallError::Refused(failure)) => {
            let said = &failure.message;
            assert!(said.contains("\"wan0\" that is not netd's"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let kept = ip(&attached.namespace, "-details link show wan0");
    assert!(kept.contains("bridge forward_delay"), "{kept}");
    // Nothing of the attempt is left, and another name can be had.
    let joined = host.call(&subject, &join("wan1")).unwrap();
    let own = joined.attached.endpoint_on(&second.id).unwrap();
    assert_eq!(own.interface, "wan1");
    host.detach(&request.run);
    host.assert_holds(0, 2);
}

#[test]
fn names_that_are_asked_for_are_kept_free_of_numbers() {
    let mut host = Sandbox::new();
    let (first, second) = (
        host.network(network("first")),
        host.network(network("second")),
    );
    let mut request = attach(&[&first.id]);
    request.endpoints.push(named(&second, "eth0"));
    let attached = host.attach(&request);
    let on = |network: &NetworkConfig| attached.endpoint_on(&network.id).unwrap();
    assert_eq!(on(&second).interface, "eth0");
    assert_eq!(on(&first).interface, "eth1");
    let set = |name: &str| {
        let file = format!("/proc/sys/net/ipv4/conf/{name}/log_martians");
        inside(&attached.namespace, || {
            std::fs::read_to_string(file).unwrap()
        })
    };
    assert_eq!((set("eth0").trim(), set("eth1").trim()), ("1", "0"));
    host.detach(&request.run);
    host.assert_holds(0, 2);
}
