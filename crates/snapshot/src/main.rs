//! `hearth-restore`: becomes the process that an image is of.
//!
//! ```text
//! IMAGE on the control stream ─► table read, files opened and compared ─► steps written down
//!      ─► the program's own memory is given back, the image's mapped, registers loaded ─► the image goes on
//! ```
//!
//! It is a sandbox's command, so every wall is up before it runs. Its last part runs in a few pages that lie where
//! neither the image nor the program has anything, and is a list of system calls and a loop that makes them: from the
//! moment on when its own memory is gone, there is nothing else. What fails ends the process, with a reason on stderr.

#[cfg(target_arch = "x86_64")]
mod steps;

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    let Err(why) = restore::go_on();
    eprintln!("hearth: an instance could not go on from its fork point: {why}");
    ExitCode::from(70)
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    eprintln!("hearth: processes can be copied on x86-64 only");
    ExitCode::from(70)
}

#[cfg(target_arch = "x86_64")]
mod restore {
    use std::fs::{self, File};
    use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use hearth_snapshot::format::{self, HALF, Kind, REGION, Region, SIGNALS, at};
    use hearth_snapshot::receive;

    use crate::steps::{Area, Expect, Step};

    const CONTROL: RawFd = 3;
    /// Descriptors from here on are not an instance's at its start.
    const FIRST_OWN: u64 = 5;
    /// Addresses that a process has.
    const END: u64 = 0x7fff_ffff_f000;
    /// What the C library signs its restartable sequences with.
    const SIGNATURE: u64 = 0x5305_3053;

    type Why = String;

    struct Image {
        file: File,
        numbers: Vec<u64>,
        texts: Vec<u8>,
        regions: Vec<Region>,
        specials: Vec<Region>,
    }

    pub fn go_on() -> Result<std::convert::Infallible, Why> {
        let image = receive::image(CONTROL).ok_or("the host sent no image")?;
        // SAFETY: just received, and nobody else's.
        let image = Image::read(unsafe { File::from_raw_fd(image) })?;
        let own = own_mappings()?;
        let taken = image.regions.iter().chain(&image.specials).map(|region| (region.start, region.end));
        let taken: Vec<_> = taken.chain(own.iter().map(|one| (one.start, one.end))).collect();
        let specials = image.specials.iter().map(|one| one.end - one.start).sum::<u64>();
        let steps = 2 * image.regions.len() + 3 * image.specials.len() + SIGNALS + 16;
        let mut area = Area::make(&taken, steps, specials).ok_or("there is no room for its last steps")?;
        image.write_down(&mut area, &own)?;
        area.leave(image.numbers[at::STACK], image.numbers[at::RESUME])
    }

    impl Image {
        fn read(file: File) -> Result<Self, Why> {
            let bad = || Why::from("the image is none");
            let mut bytes = vec![0; 2 * HALF];
            file.read_exact_at(&mut bytes, 0).map_err(|error| format!("read the image: {error}"))?;
            let texts = bytes.split_off(HALF);
            let number = |eight: &[u8]| u64::from_le_bytes(eight.try_into().unwrap_or_default());
            let numbers: Vec<u64> = bytes.chunks_exact(8).map(number).collect();
            if numbers[at::MAGIC] != format::MAGIC {
                return Err(bad());
            }
            let count = |place: usize| usize::try_from(numbers[place]).ok().filter(|n| *n < HALF).ok_or_else(bad);
            let (regions, specials) = (count(at::REGIONS)?, count(at::SPECIALS)?);
            let table = numbers.get(at::TABLE..at::TABLE + (regions + specials) * REGION).ok_or_else(bad)?;
            let mut table =
                table.chunks_exact(REGION).map(Region::decode).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
            let specials = table.split_off(regions);
            Ok(Self { file, numbers, texts, regions: table, specials })
        }

        fn text(&self, (place, length): (u32, u32)) -> Result<&str, Why> {
            let text = self.texts.get(place as usize..place as usize + length as usize);
            text.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(|| "the image is none".into())
        }

        /// What is to be done when nothing of this program is left.
        fn write_down(&self, area: &mut Area, own: &[Own]) -> Result<(), Why> {
            use libc::*;
            // The kernel's own pages are where its C library expects them; meanwhile they lie in the area.
            let mut parked = Vec::new();
            if own.len() != self.specials.len() {
                return Err("the kernel's own pages are others".into());
            }
            for special in &self.specials {
                let name = self.text(special.name)?;
                let found =
                    own.iter().find(|one| one.name == name && one.end - one.start == special.end - special.start);
                let found = found.ok_or_else(|| format!("the kernel's own page {name} is another"))?;
                let slot = area.slot(special.end - special.start);
                area.step(move_to(found.start, slot, special.end - special.start));
                parked.push((slot, special));
            }
            let (begin, end) = area.range();
            area.step(Step::new(SYS_munmap, [0, begin, 0, 0, 0, 0], Expect::Success));
            area.step(Step::new(SYS_munmap, [end, END - end, 0, 0, 0, 0], Expect::Success));

            let image = self.file.try_clone().map_err(|error| error.to_string())?.into_raw_fd() as u64;
            let mut open: Option<((u32, u32), u64)> = None;
            for region in &self.regions {
                let length = region.end - region.start;
                let (mut flags, mut fd, mut offset) = (MAP_PRIVATE | MAP_FIXED, u64::MAX, 0);
                match region.kind {
                    Kind::Empty | Kind::Wiped => flags |= MAP_ANONYMOUS | MAP_NORESERVE,
                    // A type of its own, beside private and shared.
                    Kind::Droppable => flags = 0x08 | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE,
                    Kind::Image => (fd, offset) = (image, region.offset),
                    Kind::File | Kind::SharedFile => {
                        if region.kind == Kind::SharedFile {
                            flags = MAP_SHARED | MAP_FIXED;
                        }
                        let file = match open {
                            Some((name, file)) if name == region.name => file,
                            _ => self.open(region)?,
                        };
                        open = Some((region.name, file));
                        (fd, offset) = (file, region.offset);
                    }
                }
                let args = [region.start, length, region.protection, flags as u64, fd, offset];
                area.step(Step::new(SYS_mmap, args, Expect::Exactly(region.start)));
                if region.kind == Kind::Wiped {
                    let args = [region.start, length, MADV_WIPEONFORK as u64, 0, 0, 0];
                    area.step(Step::new(SYS_madvise, args, Expect::Success));
                }
            }
            for (slot, special) in parked {
                area.step(move_to(slot, special.start, special.end - special.start));
            }
            self.thread(area);
            Ok(())
        }

        /// A file that is mapped: the very one, as it was.
        fn open(&self, region: &Region) -> Result<u64, Why> {
            let path = self.text(region.name)?;
            let file = File::options().read(true).custom_flags(libc::O_CLOEXEC).open(path);
            let file = file.map_err(|error| format!("open {path}: {error}"))?.into_raw_fd();
            // SAFETY: all-zero is no file's; the structure outlives the call.
            let mut stat: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            let told = unsafe { libc::fstat(file, &raw mut stat) };
            // But for the device: each sandbox mounts it anew.
            if told != 0 || format::identity(&stat)[1..] != region.file[1..] {
                return Err(format!("{path} has changed since the fork point was made"));
            }
            Ok(file as u64)
        }

        /// What the kernel keeps for a thread.
        fn thread(&self, area: &mut Area) {
            use libc::*;
            let numbers = &self.numbers;
            const ARCH_SET_FS: u64 = 0x1002;
            const SIG_SETMASK: u64 = 2;
            // SAFETY: asks only.
            let pid = unsafe { getpid() } as u64;
            area.step(Step::new(SYS_arch_prctl, [ARCH_SET_FS, numbers[at::THREAD], 0, 0, 0, 0], Expect::Success));
            area.step(Step::new(SYS_set_tid_address, [numbers[at::TID], 0, 0, 0, 0, 0], Expect::Exactly(pid)));
            area.step(Step::poke(numbers[at::TID], pid as u32));
            area.step(Step::new(SYS_set_robust_list, [numbers[at::ROBUST], 24, 0, 0, 0, 0], Expect::Success));
            if numbers[at::RSEQ] != 0 {
                // Until it is registered, which not every kernel can: as the C library says that it is not.
                area.step(Step::poke(numbers[at::RSEQ].wrapping_add(4), u32::MAX));
                area.step(Step::new(SYS_rseq, [numbers[at::RSEQ], 32, 0, SIGNATURE, 0, 0], Expect::Anything));
            }
            for signal in (1..=SIGNALS).filter(|signal| ![SIGKILL as usize, SIGSTOP as usize].contains(signal)) {
                let place = at::ACTIONS + 4 * (signal - 1);
                let action = area.copy(&numbers[place..place + 4]);
                area.step(Step::new(SYS_rt_sigaction, [signal as u64, action, 0, 8, 0, 0], Expect::Success));
            }
            let stack = area.copy(&numbers[at::ALTSTACK..at::ALTSTACK + 3]);
            area.step(Step::new(SYS_sigaltstack, [stack, 0, 0, 0, 0, 0], Expect::Anything));
            let mask = area.copy(&numbers[at::SIGMASK..=at::SIGMASK]);
            area.step(Step::new(SYS_rt_sigprocmask, [SIG_SETMASK, mask, 0, 8, 0, 0], Expect::Success));
            let name = area.copy(&numbers[at::NAME..at::NAME + 2]);
            area.step(Step::new(SYS_prctl, [PR_SET_NAME as u64, name, 0, 0, 0, 0], Expect::Success));
            area.step(Step::new(SYS_close_range, [FIRST_OWN, u64::from(u32::MAX), 0, 0, 0, 0], Expect::Success));
        }
    }

    /// A mapping of this program that the kernel made.
    struct Own {
        start: u64,
        end: u64,
        name: String,
    }

    /// `[vdso]` and its like. (Where else this program has something is told by the kernel when the area is made.)
    fn own_mappings() -> Result<Vec<Own>, Why> {
        let maps = fs::read_to_string("/proc/self/maps").map_err(|error| format!("read its own mappings: {error}"))?;
        let special = |line: &str| {
            let name = line.split_ascii_whitespace().nth(5)?;
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            let own = Own {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                name: name.to_owned(),
            };
            (name.starts_with("[v") && name != "[vsyscall]").then_some(own)
        };
        Ok(maps.lines().filter_map(special).collect())
    }

    fn move_to(from: u64, to: u64, length: u64) -> Step {
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        Step::new(libc::SYS_mremap, [from, length, length, flags, to, 0], Expect::Exactly(to))
    }
}
