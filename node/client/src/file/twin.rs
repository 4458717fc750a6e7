//! A file that holds one content in two places in turn, so that a new one is on disk with one sync.
//!
//! ```text
//! file  = "lapwing/v1/twin\n", capacity (u32), zeros to 4,096 bytes, place, place
//! place = number (u64), length (u32), checksum (32 bytes), content, zeros to capacity
//! ```
//!
//! Numbers are little-endian; each place begins at a multiple of 4,096. The content is that of the place
//! whose checksum holds; of two, that with the higher number. A new content goes to the other place, so
//! the one before it is whole until the new one is. All blocks of the file were written when it was
//! made: a new content changes none of what the file system keeps of it, which is what makes a
//! replaced file slow. What does not fit is written to a new file, twice as large as it needs.
//!
//! A place that a crash left half written was never acted upon; the one before it is in force.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{FileError, MAX_FILE, replace};

const MAGIC: &[u8; 16] = b"lapwing/v1/twin\n";
/// Places begin at multiples of this many bytes.
const BLOCK: u64 = 4_096;
/// Number, length and checksum.
const HEAD: usize = 8 + 4 + 32;
/// Most bytes of a file: both places have twice the room of the longest content.
const MAX_LENGTH: u64 = 4 * (MAX_FILE + BLOCK);
/// Least bytes of content that a new file has room for.
const LEAST: usize = 16 * 1_024;

/// Where a file's places are.
#[derive(Clone, Copy)]
struct Shape {
    /// Most bytes of content.
    capacity: usize,
}

impl Shape {
    /// With room for a content to grow.
    fn around(length: usize) -> Self {
        let capacity = length.saturating_mul(2).max(LEAST);
        Shape { capacity }
    }

    /// Bytes of a place.
    fn stride(self) -> u64 {
        (HEAD as u64 + self.capacity as u64).next_multiple_of(BLOCK)
    }

    fn place(self, n: u64) -> u64 {
        BLOCK + n * self.stride()
    }

    fn length(self) -> u64 {
        self.place(2)
    }

    /// The shape that a file says it has; nothing if it is none of these.
    fn of(file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; MAGIC.len() + 4];
        let length = file.metadata()?.len();
        if !(BLOCK..=MAX_LENGTH).contains(&length) {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        let Some((magic, capacity)) = head.split_last_chunk::<4>() else {
            return Ok(None);
        };
        let capacity = u32::from_le_bytes(*capacity);
        let shape = usize::try_from(capacity).map(|capacity| Shape { capacity });
        Ok(shape
            .ok()
            .filter(|shape| magic == MAGIC && shape.length() == length))
    }
}

/// The beginning of a place.
type Head = [u8; HEAD];

/// What lies in a place.
struct Found {
    place: u64,
    number: u64,
    content: Zeroizing<Vec<u8>>,
}

/// The content in force, as whoever wrote it last knows it: which place, and both heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    place: u64,
    number: u64,
    heads: [Head; 2],
}

/// The head of a place with this content.
fn head(number: u64, content: &[u8]) -> io::Result<Head> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12..].copy_from_slice(&checksum(number, content));
    Ok(head)
}

/// The heads of both places.
fn heads(file: &File, shape: Shape) -> io::Result<[Head; 2]> {
    let mut heads = [[0; HEAD]; 2];
    for (n, head) in (0..).zip(&mut heads) {
        file.read_exact_at(head, shape.place(n))?;
    }
    Ok(heads)
}

fn checksum(number: u64, content: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("lapwing/v1/twin-file");
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    hasher.finalize().into()
}

/// What lies in the `place`th of a file's places; nothing if its checksum does not hold.
fn look(file: &File, shape: Shape, place: u64) -> io::Result<Option<Found>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, shape.place(place))?;
    let Some((number, rest)) = head.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let Some((length, sum)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let number = u64::from_le_bytes(*number);
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if number == 0 || length > shape.capacity {
        return Ok(None);
    }
    let mut content = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut content, shape.place(place) + HEAD as u64)?;
    Ok((checksum(number, &content) == sum).then_some(Found {
        place,
        number,
        content,
    }))
}

/// The content in force.
fn newest(file: &File, shape: Shape) -> io::Result<Option<Found>> {
    let found = [look(file, shape, 0)?, look(file, shape, 1)?];
    Ok(found.into_iter().flatten().max_by_key(|f| f.number))
}

/// The content; nothing if there is no file.
///
/// # Errors
/// [`FileError::Read`], [`FileError::Damaged`].
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let read = || {
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let found = match Shape::of(&file)? {
            Some(shape) => newest(&file, shape)?,
            None => None,
        };
        Ok(Some(found))
    };
    let found = read().map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    match found {
        None => Ok(None),
        Some(Some(found)) => Ok(Some(found.content)),
        Some(None) => Err(FileError::Damaged {
            path: path.to_owned(),
        }),
    }
}

/// Replaces the content. When this returns, it is on disk, if `sync` says so. Who wrote it before passes
/// what was returned then: if both places still begin so, they need not be read.
///
/// # Errors
/// What the operating system says: then the content before is there, whole.
pub(super) fn write(
    path: &Path,
    content: &[u8],
    last: Option<Last>,
    sync: bool,
) -> io::Result<Last> {
    let opened = fs::OpenOptions::new().read(true).write(true).open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return make(path, content, sync),
        opened => opened?,
    };
    let Some(shape) = Shape::of(&file)?.filter(|shape| content.len() <= shape.capacity) else {
        return make(path, content, sync);
    };
    let mut heads = heads(&file, shape)?;
    let (place, number) = match last.filter(|last| last.heads == heads) {
        Some(last) => (last.place, last.number),
        None => match newest(&file, shape)? {
            Some(found) => (found.place, found.number),
            None => return make(path, content, sync),
        },
    };
    let (place, number) = (1 - place, number.saturating_add(1));
    let head = head(number, content)?;
    let at = shape.place(place);
    file.write_all_at(&head, at)?;
    file.write_all_at(content, at + HEAD as u64)?;
    if sync {
        file.sync_data()?;
    }
    if let Some(written) = usize::try_from(place).ok().and_then(|n| heads.get_mut(n)) {
        *written = head;
    }
    Ok(Last {
        place,
        number,
        heads,
    })
}

/// A new file in the place of an old one, if there is one.
fn make(path: &Path, content: &[u8], sync: bool) -> io::Result<Last> {
    let shape = Shape::around(content.len());
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "too long for a state file");
    if content.len() as u64 > MAX_FILE {
        return Err(too_long());
    }
    let capacity = u32::try_from(shape.capacity).map_err(|_| too_long())?;
    let length = usize::try_from(shape.length()).map_err(|_| too_long())?;
    let first = usize::try_from(shape.place(0)).map_err(|_| too_long())?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&capacity.to_le_bytes());
    bytes.resize(first, 0);
    let head = head(1, content)?;
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(content);
    bytes.resize(length, 0);
    replace(path, &bytes, sync)?;
    Ok(Last {
        place: 0,
        number: 1,
        heads: [head, [0; HEAD]],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Vec<u8> {
        read(path).unwrap().unwrap().to_vec()
    }

    /// Where the places of a file begin.
    fn places(path: &Path) -> [usize; 2] {
        let shape = Shape::of(&File::open(path).unwrap()).unwrap().unwrap();
        [0, 1].map(|n| shape.place(n) as usize)
    }

    #[test]
    fn contents_follow_one_another_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(read(&path).unwrap().is_none());
        for n in 0..5_u8 {
            let new = vec![n; 1 + usize::from(n) * 100];
            write(&path, &new, None, true).unwrap();
            assert_eq!(content(&path), new);
        }
        let length = fs::metadata(&path).unwrap().len();
        write(&path, &[7; LEAST], None, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
        // What does not fit makes the file larger.
        write(&path, &[8; LEAST + 1], None, true).unwrap();
        assert_eq!(content(&path), vec![8; LEAST + 1]);
        assert!(fs::metadata(&path).unwrap().len() > length);
        write(&path, b"", None, true).unwrap();
        assert_eq!(content(&path), b"");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_writes_again_need_not_read_and_sees_what_others_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut last = None;
        for n in 0..5_u8 {
            last = Some(write(&path, &[n; 300], last, true).unwrap());
            assert_eq!(content(&path), [n; 300]);
        }
        let shape = Shape::of(&File::open(&path).unwrap()).unwrap().unwrap();
        let found = newest(&File::open(&path).unwrap(), shape).unwrap().unwrap();
        assert_eq!((found.number, found.place), (5, last.unwrap().place));
        // Somebody else writes: what is remembered holds no more.
        write(&path, b"other", None, true).unwrap();
        write(&path, b"mine", last, true).unwrap();
        assert_eq!(content(&path), b"mine");
        let found = newest(&File::open(&path).unwrap(), shape).unwrap().unwrap();
        assert_eq!(found.number, 7);
        // Nor does it of a file that was put in its place.
        fs::remove_file(&path).unwrap();
        let last = write(&path, b"first", last, true).unwrap();
        assert_eq!((last.number, content(&path)), (1, b"first".to_vec()));
    }

    #[test]
    fn half_a_content_leaves_the_one_before_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"first", None, true).unwrap();
        write(&path, b"second", None, true).unwrap();
        let whole = fs::read(&path).unwrap();
        let [_, second] = places(&path);
        // A crash while the second was written: any byte of it may be the old one.
        for at in second..second + HEAD + b"second".len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            fs::write(&path, torn).unwrap();
            assert_eq!(content(&path), b"first", "byte {at}");
        }
        // The next goes where the torn one was, and not over the one in force.
        write(&path, b"third", None, true).unwrap();
        assert_eq!(content(&path), b"third");
        let [first, _] = places(&path);
        assert_eq!(&fs::read(&path).unwrap()[first + HEAD..][..5], b"first");
    }

    #[test]
    fn what_is_no_such_file_is_damaged_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"content", None, true).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut wide = whole.clone();
        wide[MAGIC.len()..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut torn = whole.clone();
        torn[places(&path)[0]] ^= 1;
        for bad in [
            &b""[..],
            b"something else",
            &whole[..whole.len() - 1],
            &vec![0; whole.len()],
            &wide,
            &torn,
        ] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(read(&path), Err(FileError::Damaged { .. })));
        }
        write(&path, b"new", None, true).unwrap();
        assert_eq!(content(&path), b"new");
    }
}
