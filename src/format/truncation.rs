//! What happens where a mapped file is cut off while it is read.
//!
//! The kernel answers a look at a page beyond the new end of the file with SIGBUS, whose default is to kill the
//! process. With [`survive`] the rest of that mapping becomes zeros instead, which is noted, so that the program gets
//! to the next place where it asks whether its input is what it was, and ends with an error that cleans up. The journal
//! of systemd does the same. Rejected: to end the process in the handler, which leaves the unfinished output behind; to
//! jump out of it, which skips destructors; to read in place of mapping, which makes a copy of what need not be looked
//! at twice.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// A mapping as the handler finds it. Never freed, since the handler walks the list without a lock; used again.
struct Watch {
    /// Address of its first byte; 0 while it stands for no mapping.
    start: AtomicUsize,
    length: AtomicUsize,
    next: AtomicPtr<Watch>,
}

/// The newest of all watches.
static WATCHES: AtomicPtr<Watch> = AtomicPtr::new(ptr::null_mut());
/// Those that stand for no mapping. The handler never takes this lock.
static FREE: Mutex<Vec<&'static Watch>> = Mutex::new(Vec::new());
/// Whether a mapping lost its file.
static LOST: AtomicBool = AtomicBool::new(false);
/// Bytes of a page; 0 before [`survive`].
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Keeps a mapping in the list of those whose loss is survived. To be dropped before the mapping is.
pub(super) struct Watched(&'static Watch);

impl Watched {
    /// Adds the mapping of these bytes.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = free.pop().unwrap_or_else(|| {
            let watch: &'static mut Watch = Box::leak(Box::new(Watch {
                start: AtomicUsize::new(0),
                length: AtomicUsize::new(0),
                next: AtomicPtr::new(WATCHES.load(Ordering::Relaxed)),
            }));
            let watch = ptr::from_mut(watch);
            // Under the lock nobody else adds one.
            WATCHES.store(watch, Ordering::Release);
            // SAFETY: it was just leaked, so it lives for ever, and its fields are only used as atomics.
            unsafe { &*watch }
        });
        watch.length.store(bytes.len(), Ordering::Release);
        watch.start.store(bytes.as_ptr().addr(), Ordering::Release);
        Watched(watch)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// Makes the loss of a mapped file an error in place of the end of the process: see [`check`].
///
/// This sets the action of SIGBUS for the whole process, so it is for programs to call, once, not for libraries. A
/// SIGBUS that has nothing to do with a mapped file does what it always did.
///
/// # Errors
/// [`ErrorKind::Io`] where the system refuses.
pub fn survive() -> Result<()> {
    // SAFETY: it asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
    // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask. The handler does only what may be done in one.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
    };
    if set == 0 {
        return Ok(());
    }
    let refused = Error::new(ErrorKind::Io, "cannot watch for files that are cut off while they are read");
    Err(refused.caused_by(io::Error::last_os_error()))
}

/// Fails if a mapped file was cut off while it was read, so that zeros were seen in place of its end.
///
/// # Errors
/// [`ErrorKind::Io`] then.
pub fn check() -> Result<()> {
    if LOST.load(Ordering::Relaxed) {
        Err(Error::new(ErrorKind::Io, "a file was cut off while it was read"))
    } else {
        Ok(())
    }
}

/// Runs in the thread that looked at a page that is no more.
extern "C" fn on_bus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `siginfo_t`, and one of SIGBUS has the address. What is called (`mmap`,
    // `sigaction`) is a bare system call; there is no lock and no allocation. Watches are never freed. The mapping that
    // has the address is alive and stays so, because this very thread is reading it; so `MAP_FIXED` replaces nothing
    // but pages of that mapping, which nobody writes to and which are valid as any bytes.
    unsafe {
        let address = (*info).si_addr().addr();
        let errno = *libc::__errno_location();
        let page = PAGE.load(Ordering::Relaxed);
        let mut next = WATCHES.load(Ordering::Acquire).cast_const();
        while let Some(watch) = next.as_ref() {
            let start = watch.start.load(Ordering::Acquire);
            let length = watch.length.load(Ordering::Acquire).next_multiple_of(page);
            // A watch that another thread is using again may show the start of one mapping and the length of another.
            let steady = start != 0 && watch.start.load(Ordering::Acquire) == start;
            if steady && (start..start.saturating_add(length)).contains(&address) {
                let lost = address & !page.wrapping_sub(1);
                let protection = libc::PROT_READ;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                let place = ptr::without_provenance_mut(lost);
                if libc::mmap(place, start.wrapping_add(length).wrapping_sub(lost), protection, flags, -1, 0)
                    != libc::MAP_FAILED
                {
                    LOST.store(true, Ordering::Relaxed);
                    *libc::__errno_location() = errno;
                    return;
                }
            }
            next = watch.next.load(Ordering::Acquire).cast_const();
        }
        // Not ours: back in the code that did it, the default action ends the process.
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
        *libc::__errno_location() = errno;
    }
}
