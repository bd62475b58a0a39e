//! Tests of options, with dockerd 28.5.2's words for what it refuses.

use super::*;

fn config(driver: &str, options: &[(&str, &str)]) -> LogConfig {
    let options = options.iter();
    LogConfig {
        r#type: driver.to_owned(),
        config: options
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn json_file(max_size_bytes: u64, max_files: u32, compress: bool) -> LogDriver {
    LogDriver::JsonFile {
        max_size_bytes,
        max_files,
        compress,
    }
}

fn local(max_size_bytes: u64, max_files: u32, compress: bool) -> LogDriver {
    LogDriver::Local {
        max_size_bytes,
        max_files,
        compress,
    }
}

#[test]
fn the_configuration_says_what_a_request_leaves_open() {
    let of_engine = config("local", &[("max-size", "1m"), ("max-file", "3")]);
    let mut silent = config("", &[("max-file", "2")]);
    complete(&mut silent, &of_engine);
    assert_eq!(
        silent,
        config("local", &[("max-size", "1m"), ("max-file", "2")])
    );
    let mut other = config("json-file", &[]);
    complete(&mut other, &of_engine);
    assert_eq!(other, config("json-file", &[]));
}

#[test]
fn what_is_kept_is_bounded_whatever_is_asked() {
    let kept = |driver: &str, options: &[(&str, &str)]| convert(&config(driver, options)).unwrap();
    assert_eq!(kept("json-file", &[]), json_file(20 << 20, 5, false));
    assert_eq!(
        kept("json-file", &[("max-size", "10k")]),
        json_file(10_000, 1, false)
    );
    let compressed = [
        ("max-size", "1.5m"),
        ("max-file", "3"),
        ("compress", "true"),
    ];
    assert_eq!(
        kept("json-file", &compressed),
        json_file(1_500_000, 3, true)
    );
    assert_eq!(
        kept("json-file", &[("max-file", "2")]),
        json_file(20 << 20, 2, false)
    );
    assert_eq!(kept("local", &[]), local(20 << 20, 5, true));
    let single = [("max-file", "1"), ("compress", "0")];
    assert_eq!(kept("local", &single), local(20 << 20, 1, false));
    assert_eq!(kept("none", &[("bogus", "1")]), LogDriver::None);
    assert_eq!(kept("journald", &[]), local(20 << 20, 5, true));
    let cache = [
        ("cache-max-size", "1MB"),
        ("cache-max-file", "2"),
        ("cache-compress", "f"),
    ];
    assert_eq!(kept("syslog", &cache), local(1_000_000, 2, false));
    assert_eq!(
        kept("syslog", &[("cache-disabled", "true")]),
        LogDriver::None
    );
}

/// A driver, its options, and what is said of them.
type Refusal = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const REFUSED: [Refusal; 30] = [
    (
        "gelf",
        &[],
        "error looking up logging plugin gelf: plugin \"gelf\" not found",
    ),
    (
        "json-file",
        &[("bogus", "1")],
        "unknown log opt 'bogus' for json-file log driver",
    ),
    (
        "local",
        &[("labels", "a")],
        "unknown log opt 'labels' for log driver local",
    ),
    (
        "journald",
        &[("cache-bogus", "1")],
        "unknown log opt 'cache-bogus' for journald log driver",
    ),
    (
        "syslog",
        &[("max-size", "1m")],
        "unknown log opt 'max-size' for syslog log driver",
    ),
    (
        "json-file",
        &[("mode", "x")],
        "logger: logging mode not supported: x",
    ),
    (
        "local",
        &[("max-buffer-size", "1m")],
        "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ),
    (
        "syslog",
        &[("mode", "non-blocking"), ("max-buffer-size", "zz")],
        "error parsing option max-buffer-size: invalid size: 'zz'",
    ),
    (
        "json-file",
        &[("cache-disabled", "maybe")],
        "invalid value for option cache-disabled: maybe",
    ),
    (
        "json-file",
        &[("max-size", "zz")],
        "failed to initialize logging driver: invalid size: 'zz'",
    ),
    (
        "json-file",
        &[("max-size", "-1")],
        "failed to initialize logging driver: invalid size: '-1'",
    ),
    (
        "json-file",
        &[("max-size", "1x")],
        "failed to initialize logging driver: invalid suffix: 'x'",
    ),
    (
        "json-file",
        &[("max-size", "0")],
        "failed to initialize logging driver: max-size must be a positive number",
    ),
    (
        "json-file",
        &[("max-file", "zz")],
        "failed to initialize logging driver: strconv.Atoi: parsing \"zz\": invalid syntax",
    ),
    (
        "json-file",
        &[("max-file", "0")],
        "failed to initialize logging driver: max-file cannot be less than 1",
    ),
    (
        "json-file",
        &[("compress", "zz")],
        "failed to initialize logging driver: strconv.ParseBool: parsing \"zz\": invalid syntax",
    ),
    (
        "json-file",
        &[("compress", "true"), ("max-size", "1m")],
        "failed to initialize logging driver: compress cannot be true when max-file is less than 2 or max-size is not set",
    ),
    (
        "local",
        &[("max-size", "zz")],
        "failed to initialize logging driver: invalid value for max-size: zz: invalid size: 'zz'",
    ),
    (
        "journald",
        &[("cache-max-file", "zz")],
        "failed to initialize logging driver: invalid value for cache-max-file: zz: strconv.Atoi: parsing \"zz\": invalid syntax",
    ),
    (
        "local",
        &[("max-file", "1")],
        "failed to initialize logging driver: compression cannot be enabled when max file count is 1",
    ),
    (
        "local",
        &[("compress", "zz")],
        "failed to initialize logging driver: error reading compress log option: strconv.ParseBool: parsing \"zz\": invalid syntax",
    ),
    (
        "syslog",
        &[("syslog-address", "zz")],
        "unsupported scheme: ''",
    ),
    (
        "syslog",
        &[("syslog-address", "http://x")],
        "unsupported scheme: 'http'",
    ),
    (
        "syslog",
        &[("syslog-address", "unix:///nonexistent")],
        "stat /nonexistent: no such file or directory",
    ),
    (
        "syslog",
        &[("syslog-address", "tcp://a:b:c")],
        "parse \"tcp://a:b:c\": invalid port \":c\" after host",
    ),
    (
        "syslog",
        &[("syslog-facility", "24")],
        "invalid syslog facility",
    ),
    (
        "syslog",
        &[("syslog-format", "zz")],
        "Invalid syslog format",
    ),
    (
        "json-file",
        &[("tag", "{{.Bogus}}")],
        "failed to initialize logging driver: template: log-tag:1:2: executing \"log-tag\" at <.Bogus>: can't evaluate field Bogus in type *logger.Info",
    ),
    (
        "syslog",
        &[("tag", "{{")],
        "failed to initialize logging driver: template: log-tag:1: unclosed action",
    ),
    (
        "syslog",
        &[("syslog-tls-cert", "/x")],
        "log opt 'syslog-tls-cert': syslog over TLS is not supported",
    ),
];

#[test]
fn what_dockerd_refuses_is_refused_in_its_words() {
    for (driver, options, expected) in REFUSED {
        let refused = convert(&config(driver, options)).unwrap_err();
        assert_eq!(refused.to_string(), expected, "{driver} {options:?}");
    }
    let pattern = config("json-file", &[("labels-regex", "(")]);
    let refused = convert(&pattern).unwrap_err().to_string();
    assert!(refused.contains("error parsing regexp"), "{refused}");
    assert!(check(&pattern).is_err());
}

fn subject() -> Subject {
    let labels = [
        ("l1", "v1"),
        ("l2", "v 2"),
        ("my.label-x", "2"),
        ("_hidden", "h"),
    ];
    Subject {
        id: "b539d4c29fb519c04ed82775dbff5bf9b116259c8b886b1359556204f5459581".to_owned(),
        name: "j1".to_owned(),
        image: "busybox:1".to_owned(),
        labels: labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        environment: ["E1=x", "E2=a=b", "IMGENV=x", "odd"]
            .map(str::to_owned)
            .to_vec(),
        ..Subject::default()
    }
}

#[test]
fn labels_and_environment_are_selected_by_name_and_pattern() {
    let given = [
        ("labels", "l1,missing"),
        ("labels-regex", "^my"),
        ("env", "IMGENV,odd"),
        ("env-regex", "2$"),
    ];
    let options = Options::read(&config("json-file", &given)).unwrap();
    let selected: Vec<_> = attributes::of(&options, &subject())
        .unwrap()
        .into_iter()
        .collect();
    let expected = [
        ("E2", "a=b"),
        ("IMGENV", "x"),
        ("l1", "v1"),
        ("my.label-x", "2"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(selected, expected);
}

#[test]
fn fields_of_the_journal_are_those_of_docker() {
    let given = [
        ("labels", "my.label-x,_hidden"),
        ("env", "E1"),
        ("tag", "{{.Name}}"),
    ];
    let options = Options::read(&config("journald", &given)).unwrap();
    let fields = attributes::journal_fields(&options, &subject()).unwrap();
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "CONTAINER_ID=b539d4c29fb5",
        "CONTAINER_ID_FULL=b539d4c29fb519c04ed82775dbff5bf9b116259c8b886b1359556204f5459581",
        "CONTAINER_NAME=j1",
        "CONTAINER_TAG=j1",
        "E1=x",
        "HIDDEN=h",
        "IMAGE_NAME=busybox:1",
        "MY_LABEL_X=2",
        "SYSLOG_IDENTIFIER=j1",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn tags_are_templates() {
    let tag = |text: &str| {
        let options = Options::read(&config("syslog", &[("tag", text)])).unwrap();
        options.tag(&subject()).unwrap()
    };
    assert_eq!(tag(""), "b539d4c29fb5");
    assert_eq!(tag("x/{{.Name}} y"), "x/j1 y");
    assert_eq!(
        tag("{{ .ImageName }}|{{.DaemonName}}|{{.ContainerName}}"),
        "busybox:1|docker|/j1"
    );
    assert_eq!(tag("{{index .ContainerLabels \"l2\"}}}"), "v 2}");
    assert_eq!(tag("{{index .ContainerLabels \"none\"}}"), "");
}

#[tokio::test]
async fn servers_are_found_where_the_address_says() {
    let address = async |text: &str| {
        let options = Options::read(&config("syslog", &[("syslog-address", text)])).unwrap();
        let sent = destination(&options, &subject()).await.unwrap().unwrap();
        match sent.peer {
            LogPeer::Syslog(config) => format!("{:?}", config.address),
            LogPeer::Journald { .. } => panic!("not asked for"),
        }
    };
    assert_eq!(address("").await, "Local");
    assert_eq!(address("udp://127.0.0.1").await, "Udp(127.0.0.1:514)");
    assert_eq!(address("tcp://").await, "Tcp(127.0.0.1:514)");
    assert_eq!(address("tcp://[::1]:1514").await, "Tcp([::1]:1514)");
    assert_eq!(address("unixgram:///").await, "Unixgram(\"/\")");
}
