//! The `--user` option: ids, or names of the container's own files.

use std::os::fd::BorrowedFd;
use std::str::FromStr;

use super::ExecError;
use crate::passwd;

/// A user as asked for, `uid[:gid]` or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRequest {
    user: String,
    group: Option<String>,
}

/// The ids a request came to. The group stays the container's without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: Option<u32>,
}

impl FromStr for UserRequest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() || group.is_some_and(str::is_empty) {
            return Err("expected uid[:gid]".to_owned());
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

impl UserRequest {
    /// Looks names up below the container's root; numbers are taken as they are.
    ///
    /// # Errors
    /// When a name is in neither file.
    pub fn resolve(&self, root: BorrowedFd<'_>) -> Result<ResolvedUser, ExecError> {
        let (uid, own_gid) = match self.user.parse() {
            Ok(uid) => (uid, None),
            Err(_) => {
                let user = passwd::user_by_name(root, &self.user);
                let user = user.ok_or_else(|| ExecError::UnknownUser(self.user.clone()))?;
                (user.uid, Some(user.gid))
            }
        };
        let gid = match self.group.as_deref().map(|group| (group, group.parse())) {
            None => own_gid,
            Some((_, Ok(gid))) => Some(gid),
            Some((name, Err(_))) => {
                let gid = passwd::group_by_name(root, name);
                Some(gid.ok_or_else(|| ExecError::UnknownGroup(name.to_owned()))?)
            }
        };
        Ok(ResolvedUser { uid, gid })
    }
}
