//! Where the window's program lies.

use std::path::PathBuf;

use anyhow::Context;
use tokio::process::Command;

/// From the folder of the program that stays: beside it, as it is built, or where the package puts it.
const FOLDERS: [&str; 2] = [".", "../libexec/nightjar"];

/// Has the processor draw the window: through the card it may hold memory that is lent and wake a card that sleeps, and the
/// first page waits until all that is set up. Figures that change once a second need none of it. WebKit asks for EGL all the
/// same, which is Mesa's without a card then; GTK asks for GL only to choose among visuals.
#[cfg(target_os = "linux")]
const WITHOUT_A_CARD: [(&str, &str); 3] =
    [("WEBKIT_DISABLE_COMPOSITING_MODE", "1"), ("GDK_GL", "disable"), ("LIBGL_ALWAYS_SOFTWARE", "1")];
/// Names the EGL to load, where several are there: a card's own opens the card.
#[cfg(target_os = "linux")]
const EGL: (&str, &str) = ("__EGL_VENDOR_LIBRARY_FILENAMES", "/usr/share/glvnd/egl_vendor.d/50_mesa.json");

/// The window's program as it was when the app started. An update may put another one in its place while the app runs, but
/// both ends of the line between them must be of one build.
pub struct Program {
    path: PathBuf,
    /// Holds the file of then, whatever lies at the path.
    #[cfg(target_os = "linux")]
    file: std::fs::File,
}

impl Program {
    /// # Errors
    /// When there is none.
    pub fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("where this program lies is not known")?;
        let beside = own.parent().context("this program lies in no folder")?;
        let name = format!("nightjar-window{}", std::env::consts::EXE_SUFFIX);
        let path = FOLDERS
            .map(|folder| beside.join(folder).join(&name))
            .into_iter()
            .find(|path| path.is_file())
            .with_context(|| format!("{name} is missing beside {}: install Nightjar again", own.display()))?;
        Ok(Self {
            #[cfg(target_os = "linux")]
            file: std::fs::File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?,
            path,
        })
    }

    /// To start it.
    #[cfg(target_os = "linux")]
    pub fn command(&self) -> Command {
        let mut command = if self.is_replaced() {
            use std::os::fd::AsRawFd;
            let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            // The desktop knows the window by this.
            command.arg0("nightjar-window");
            command
        } else {
            Command::new(&self.path)
        };
        let mesa = std::path::Path::new(EGL.1).exists().then_some(EGL);
        // What the owner has set for all programs holds here, too.
        let unset = |(name, _): &(&str, &str)| std::env::var_os(name).is_none();
        command.envs(WITHOUT_A_CARD.into_iter().chain(mesa).filter(unset));
        command
    }

    /// To start it.
    #[cfg(not(target_os = "linux"))]
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    #[cfg(target_os = "linux")]
    fn is_replaced(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let of_then = self.file.metadata().map(identity);
        let of_now = std::fs::metadata(&self.path).map(identity);
        !matches!((of_then, of_now), (Ok(then), Ok(now)) if then == now)
    }
}
