//! The generations of one log, as open files.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// More generations than anyone keeps; bounds the open files of one reader.
const MAX_GENERATIONS: u32 = 1000;

/// Device and inode: what a file is, whatever its name becomes.
pub(super) type FileId = (u64, u64);

/// One generation, held open so that a rotation cannot take it away.
#[derive(Debug)]
pub(super) struct Generation {
    file: File,
    pub(super) id: FileId,
    compressed: bool,
}

impl Generation {
    /// Opens the file; `None` when there is none. Whatever is no regular file is refused, and
    /// opening never blocks.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidData, "log is not a regular file"));
        }
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        Ok(Some(Self { file, id: (metadata.dev(), metadata.ino()), compressed }))
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Gives the content from `offset` (of the uncompressed bytes only 0 makes sense when it is
    /// compressed), at most `limit` bytes.
    pub(super) fn into_reader(
        mut self,
        offset: u64,
        limit: u64,
    ) -> io::Result<Box<dyn Read + Send>> {
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(if self.compressed {
            Box::new(MultiGzDecoder::new(io::BufReader::new(self.file)))
        } else {
            Box::new(self.file.take(limit))
        })
    }
}

/// Opens generation `number` of the log: 0 is the log itself, then `.1` or `.1.gz`, ….
pub(super) fn open_generation(log: &Path, number: u32) -> io::Result<Option<Generation>> {
    if number == 0 {
        return Generation::open(log);
    }
    if number > MAX_GENERATIONS {
        return Ok(None);
    }
    for suffix in [format!(".{number}"), format!(".{number}.gz")] {
        let mut name = log.as_os_str().to_owned();
        name.push(suffix);
        if let Some(generation) = Generation::open(&PathBuf::from(name))? {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}
