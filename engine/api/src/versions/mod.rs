//! What differs between versions of the API: the one table of it, and its use.
//!
//! The engine makes every answer in the newest form and reads every request in it.
//! [`shape`] turns an answer into the form of an earlier version, [`read`] a request's
//! body into the newest form, and [`is_known`] says whether a version has a parameter.
//! The rows are in [`answers`] and [`requests`]; nobody else asks for a version to
//! decide about a field.

mod answers;
mod fields;
mod requests;

use serde_json::Value;

pub use answers::Answer;
pub use requests::{Body, VersionError, deprecations, is_known};

use crate::version::ApiVersion;

/// Gives an answer the form that it has in a version.
pub fn shape(answer: Answer, version: ApiVersion, value: &mut Value) {
    for row in rows(answer, version) {
        row.form.apply(row.path, value);
    }
}

/// Returns whether an answer has its newest form in a version: [`shape`] leaves it as it is.
pub fn is_newest(answer: Answer, version: ApiVersion) -> bool {
    rows(answer, version).next().is_none()
}

fn rows(answer: Answer, version: ApiVersion) -> impl Iterator<Item = &'static answers::Row> {
    let all = answers::ROWS.iter();
    all.filter(move |row| row.answer == answer && row.versions.contains(&version.minor))
}

/// Gives the body of a request the form of the newest version: what a version does not
/// know is as if it had not been said.
///
/// # Errors
/// Fails for what Docker refuses in that version instead of passing over it.
pub fn read(body: Body, version: ApiVersion, value: &mut Value) -> Result<(), VersionError> {
    for row in requests::ROWS.iter().filter(|row| row.body == body) {
        if row.versions.contains(&version.minor) {
            row.rule.apply(row.path, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shaped(answer: Answer, minor: u16, mut value: Value) -> Value {
        shape(answer, ApiVersion::v1(minor), &mut value);
        value
    }

    #[test]
    fn a_field_is_there_in_its_versions() {
        let newest = json!([{"Id": "a", "Size": 7, "Containers": 3}]);
        assert_eq!(shaped(Answer::ImageList, 51, newest.clone()), newest);
        assert_eq!(
            shaped(Answer::ImageList, 44, newest.clone()),
            json!([{"Id": "a", "Size": 7, "Containers": -1}])
        );
        assert_eq!(
            shaped(Answer::ImageList, 43, newest),
            json!([{"Id": "a", "Size": 7, "VirtualSize": 7, "Containers": -1}])
        );
    }

    #[test]
    fn the_newest_version_has_the_newest_form() {
        assert!(is_newest(Answer::ContainerList, ApiVersion::v1(46)));
        assert!(!is_newest(Answer::ContainerList, ApiVersion::v1(45)));
        assert!(!is_newest(Answer::ImageList, ApiVersion::v1(50)));
    }

    #[test]
    fn aliases_had_the_names_that_are_apart_now() {
        let inspected = json!({
            "Id": "0123456789abcdef", "Config": {"Hostname": "host"},
            "HostConfig": {"NetworkMode": "mine"},
            "NetworkSettings": {"Networks": {"mine": {"Aliases": ["own"]}}},
        });
        let old = shaped(Answer::ContainerInspect, 44, inspected.clone());
        let aliases = old.pointer("/NetworkSettings/Networks/mine/Aliases");
        assert_eq!(aliases, Some(&json!(["own", "0123456789ab", "host"])));
        assert_eq!(
            shaped(Answer::ContainerInspect, 45, inspected.clone()),
            inspected
        );
    }

    #[test]
    fn what_a_version_does_not_know_was_not_said() {
        let body = json!({"HostConfig": {"Annotations": {"a": "b"}, "ConsoleSize": [1, 2]}});
        let read_as = |minor| {
            let mut body = body.clone();
            read(Body::ContainerCreate, ApiVersion::v1(minor), &mut body).unwrap();
            body
        };
        assert_eq!(read_as(51), body);
        assert_eq!(read_as(42), json!({"HostConfig": {"ConsoleSize": [1, 2]}}));
        assert_eq!(read_as(40), json!({"HostConfig": {}}));
    }

    #[test]
    fn what_used_to_be_by_default_is_said() {
        for mut body in [json!({}), json!({"HostConfig": null})] {
            read(Body::ContainerCreate, ApiVersion::v1(39), &mut body).unwrap();
            assert_eq!(body, json!({"HostConfig": {"IpcMode": "shareable"}}));
        }
    }

    #[test]
    fn what_must_not_be_passed_over_is_refused() {
        let mut body = json!({"HostConfig": {"Mounts": [{"VolumeOptions": {"Subpath": "a"}}]}});
        let version = ApiVersion::v1(44);
        let refused = read(Body::ContainerCreate, version, &mut body).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "VolumeOptions.Subpath needs API v1.45 or newer"
        );
    }

    #[test]
    fn a_word_has_a_first_version() {
        let mounts = |kind| json!({"HostConfig": {"Mounts": [{"Type": "bind"}, {"Type": kind}]}});
        let read_as = |minor, kind| {
            let version = ApiVersion::v1(minor);
            read(Body::ContainerCreate, version, &mut mounts(kind))
        };
        let refused = read_as(47, "image").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Mount type \"Image\" needs API v1.48 or newer"
        );
        read_as(24, "image").unwrap_err();
        read_as(47, "volume").unwrap();
        read_as(48, "image").unwrap();
    }

    #[test]
    fn a_parameter_has_a_first_version() {
        let parts = ["containers", "a", "stats"];
        assert!(!is_known(&parts, "one-shot", ApiVersion::v1(40)));
        assert!(is_known(&parts, "one-shot", ApiVersion::v1(41)));
        assert!(is_known(&parts, "stream", ApiVersion::v1(24)));
        let image = ["images", "a", "b:1", "json"];
        assert!(!is_known(&image, "manifests", ApiVersion::v1(47)));
    }
}
