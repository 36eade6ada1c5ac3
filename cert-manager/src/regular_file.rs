//! Files, and nothing else that has a name.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use zeroize::Zeroizing;

/// Reads a regular file of at most `max_bytes`. What is none, such as a pipe that nobody writes to or a device
/// without end, is refused and not waited for.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<(Zeroizing<Vec<u8>>, fs::Metadata)> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    // Sized at once, so that no half-read copy of a key stays behind after growing.
    let size = usize::try_from(metadata.len().min(max_bytes)).unwrap_or_default() + 2;
    let mut value = Zeroizing::new(Vec::with_capacity(size));
    file.take(max_bytes + 1).read_to_end(&mut value)?;
    if value.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok((value, metadata))
}
