//! Programs of filters made before, below the state root, so that most starts
//! cost a read instead of a translation.
//!
//! ```text
//! <state root>/@seccomp/       0700; no container id has an @
//!     <64 hexadecimal digits>  0600, replaced by rename: one program
//! ```
//! The format, and what the name is the digest of, is in
//! `docs/formats/seccomp-cache.md`. Only a file that is this user's, that no
//! other may write, and whose checksum over name and program is right is used;
//! every other is made anew. A cache that cannot be written is no failure: the
//! program was made all the same. Readers take no lock: a file is replaced or
//! removed as a whole.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base::Digest;
use base::digest::Digester;
use base::file::{FileMode, PathContext as _, PathError, replace};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::SeccompError;
use super::bpf::{INSTRUCTION_BYTES, PROGRAM_LIMIT, Program};
use super::compile::{self, Platform};
use super::plan::ProgramPlan;

/// The directory below the state root. Ids have no such character, so that no
/// container is called that and none is listed.
pub const DIRECTORY: &str = "@seccomp";
/// Hosts have a few profiles; whoever makes up more gets them translated.
const FILES_LIMIT: usize = 64;
/// Changes whenever other programs are made from the same plan.
const TRANSLATION: u32 = 1;

const MAGIC: [u8; 8] = *b"RCRSBPF1";
const DIGEST_BYTES: usize = 64;
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u32>() + DIGEST_BYTES;
const FILE_LIMIT_BYTES: usize = HEADER_BYTES + PROGRAM_LIMIT * INSTRUCTION_BYTES;
/// Nobody but the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The programs below one state root.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// Everything a program depends on.
#[derive(Debug, Serialize)]
struct Key<'a> {
    translation: u32,
    library: [u32; 3],
    native: u32,
    plan: &'a ProgramPlan,
}

impl Cache {
    /// Returns the cache below `state_root`; neither need exist yet.
    pub fn below(state_root: &Path) -> Self {
        Self {
            directory: state_root.join(DIRECTORY),
        }
    }

    /// Returns the program of `plan`, made now if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn program(&self, plan: &ProgramPlan) -> Result<Program, SeccompError> {
        let platform = Platform::detect()?;
        let key = key(plan, platform);
        if let Some(program) = self.read(&key) {
            return Ok(program);
        }
        let program = compile::compile(plan, platform)?;
        // A read-only or full file system only costs the next start its time.
        self.write(&key, &program).ok();
        Ok(program)
    }

    /// Reads a program, if there is a sound one. One open, one read.
    fn read(&self, key: &Digest) -> Option<Program> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = self.directory.join(key.hex());
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let size = trusted_size(&file)?;
        let mut content = vec![0; size];
        file.read_exact(&mut content).ok()?;
        decode(key, &content)
    }

    fn write(&self, key: &Digest, program: &Program) -> Result<(), PathError> {
        self.ensure_directory()?;
        let path = self.directory.join(key.hex());
        replace(&path, &encode(key, program), FileMode::Private)?;
        self.remove_oldest()
    }

    fn ensure_directory(&self) -> Result<(), PathError> {
        let directory = &self.directory;
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.at("make directory", directory),
        }
        let meta = directory.symlink_metadata().at("look at", directory)?;
        let is_own = meta.uid() == rustix::process::geteuid().as_raw();
        if meta.is_dir() && is_own && meta.mode() & WRITABLE_BY_OTHERS == 0 {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::PermissionDenied)).at("trust", directory)
    }

    /// Removes what is over the limit, left-overs of interrupted writes too.
    fn remove_oldest(&self) -> Result<(), PathError> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        let entries = fs::read_dir(&self.directory).at("read", &self.directory)?;
        for entry in entries {
            let entry = entry.at("read", &self.directory)?;
            // One that is gone was removed by another process just now.
            if let Ok(time) = entry.metadata().and_then(|meta| meta.modified()) {
                files.push((time, entry.path()));
            }
        }
        let excess = files.len().saturating_sub(FILES_LIMIT);
        files.sort();
        let mut oldest = files.iter().take(excess);
        oldest.try_for_each(|(_, path)| base::file::remove_if_there(path))
    }
}

fn key(plan: &ProgramPlan, platform: Platform) -> Digest {
    let key = Key {
        translation: TRANSLATION,
        library: platform.library,
        native: platform.native as u32,
        plan,
    };
    Digest::of(&serde_json::to_vec(&key).expect("a plan always serializes"))
}

/// Returns the size of a file that is ours, if it is one.
fn trusted_size(file: &File) -> Option<usize> {
    let meta = file.metadata().ok()?;
    let is_own = meta.uid() == rustix::process::geteuid().as_raw();
    let is_closed = meta.mode() & WRITABLE_BY_OTHERS == 0;
    let size = usize::try_from(meta.len()).ok()?;
    let is_trusted = meta.is_file() && is_own && is_closed && size <= FILE_LIMIT_BYTES;
    is_trusted.then_some(size)
}

fn encode(key: &Digest, program: &Program) -> Vec<u8> {
    let program = program.to_bytes();
    let length = program.len() as u32;
    let digest = checksum(key, &program).hex();
    [
        &MAGIC[..],
        &length.to_le_bytes(),
        digest.as_bytes(),
        &program,
    ]
    .concat()
}

fn decode(key: &Digest, content: &[u8]) -> Option<Program> {
    let rest = content.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (digest, program) = rest.split_at_checked(DIGEST_BYTES)?;
    let is_whole = u32::from_le_bytes(*length) as usize == program.len();
    let is_sound = is_whole && checksum(key, program).hex().as_bytes() == digest;
    is_sound.then(|| Program::from_bytes(program)).flatten()
}

/// The name is part of it: a file under another's name is not sound.
fn checksum(key: &Digest, program: &[u8]) -> Digest {
    let mut digester = Digester::new();
    digester.update(key.hex().as_bytes());
    digester.update(program);
    digester.finish()
}

#[cfg(test)]
mod tests;
