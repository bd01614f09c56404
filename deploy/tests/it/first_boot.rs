//! The script of a cloud's machine, run by a real bash with real `blkid` and `mkfs.ext4` on files that stand for
//! disks. What would change this machine (mounts, services, users) is played by programs in front of the path.

use dstack_deploy::first_boot::{FirstBoot, Unfit};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "ssh-ed25519 AAAAC3Nza somebody@h\u{f6}st";

struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    /// With blank disks of so many MiB each.
    fn new(disks: &[u64]) -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
        };
        for (number, size) in disks.iter().enumerate() {
            let file = fs::File::create(machine.disk(number)).unwrap();
            file.set_len(size << 20).unwrap();
        }
        fs::create_dir(machine.path("home")).unwrap();
        machine.program("getent", "echo \"$2:x:1000:1000::$ROOT/home:/bin/sh\"");
        machine.program("install", "mkdir -p \"${@: -1}\"");
        machine.program("chown", "true");
        machine.program("logger", "true");
        machine.program("systemctl", "echo \"$*\" >>\"$ROOT/systemctl\"");
        machine.program("mountpoint", "test -e \"$ROOT/mounted\"");
        machine.program("mount", "echo \"${@: -2:1}\" >\"$ROOT/mounted\"");
        machine.program("dockerd", "true");
        machine.program(
            "lsblk",
            "if [ \"$1\" = -dnpro ]; then for disk in \"$ROOT\"/disk*; do echo \"$disk disk 0\"; done; echo \"$ROOT/rom rom 0\"; else echo \"$3\"; fi",
        );
        // Labels are looked for among the disks of this machine alone.
        machine.program(
            "blkid",
            "if [ \"$1\" = -L ]; then for disk in \"$ROOT\"/disk* \"$ROOT\"/md; do [ -e \"$disk\" ] && /usr/sbin/blkid -p -o value -s LABEL \"$disk\" 2>/dev/null | grep -qx \"$2\" && echo \"$disk\" && exit; done; exit 2; fi; exec /usr/sbin/blkid \"$@\"",
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.path(&format!("disk{number}"))
    }

    fn program(&self, name: &str, body: &str) {
        let folder = self.path("bin");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/bash\n{body}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Answers what it said.
    fn boot(&self) -> String {
        let keys = [KEY.to_owned()];
        let first_boot = FirstBoot {
            login: "ubuntu",
            keys: &keys,
        };
        let root = self.root.path().display().to_string();
        let script = first_boot
            .script_below(&root, &format!("{root}/data"))
            .unwrap();
        assert!(script.is_ascii());
        let file = self.path("script");
        fs::write(&file, script).unwrap();
        let path = format!("{root}/bin:/usr/sbin:/sbin:/usr/bin:/bin");
        let out = Command::new("bash")
            .arg(file)
            .env("ROOT", &root)
            .env("PATH", path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(said.ends_with("dstack: ready\n"), "{said}");
        assert!(self.path("run/dstack-booted").exists());
        said
    }

    /// The mount is gone, the disks stay.
    fn shut_down(&self) {
        let _ = fs::remove_file(self.path("mounted"));
    }

    fn mounted(&self) -> Option<PathBuf> {
        let told = fs::read_to_string(self.path("mounted")).ok()?;
        Some(PathBuf::from(told.trim()))
    }
}

fn signature(disk: &Path) -> String {
    let out = Command::new("/usr/sbin/blkid")
        .arg("-p")
        .args(["-o", "export"])
        .arg(disk)
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn a_blank_disk_is_formatted_once_and_mounted_at_every_boot() {
    let machine = Machine::new(&[16]);
    assert!(machine.boot().contains("formatted"));
    assert_eq!(machine.mounted(), Some(machine.disk(0)));
    let made = signature(&machine.disk(0));
    assert!(made.contains("LABEL=dstack-data"), "{made}");
    machine.shut_down();
    let again = machine.boot();
    assert!(
        !again.contains("formatted") && again.contains("mounted"),
        "{again}"
    );
    assert_eq!(signature(&machine.disk(0)), made);
    let still = machine.boot();
    assert!(!still.contains("mounted"), "it is mounted already: {still}");
}

#[test]
fn what_holds_data_is_never_formatted() {
    let machine = Machine::new(&[16, 16, 16]);
    let mkfs = |disk: usize, label: &str| {
        let status = Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-F", "-L", label])
            .arg(machine.disk(disk))
            .status();
        assert!(status.unwrap().success());
    };
    mkfs(0, "precious");
    // A partition table without partitions.
    let mut table = vec![0_u8; 512];
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    table[446 + 4] = 0x83;
    table[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 8, 0, 0]);
    let mut disk = fs::read(machine.disk(1)).unwrap();
    disk[..512].copy_from_slice(&table);
    fs::write(machine.disk(1), &disk).unwrap();
    // One whose content cannot be told: blkid fails on it.
    fs::remove_file(machine.disk(2)).unwrap();
    fs::create_dir(machine.disk(2)).unwrap();
    let before = (signature(&machine.disk(0)), signature(&machine.disk(1)));
    let said = machine.boot();
    assert!(said.contains("no blank disk"), "{said}");
    assert_eq!(
        (signature(&machine.disk(0)), signature(&machine.disk(1))),
        before
    );
    assert_eq!(machine.mounted(), None);
}

#[test]
fn several_blank_disks_become_one() {
    let machine = Machine::new(&[16, 16]);
    machine.program(
        "mdadm",
        "if [ \"$1\" = --create ]; then echo \"$@\" >\"$ROOT/mdadm\"; truncate -s 16M \"$ROOT/md\"; ln -sfn \"$ROOT/md\" \"$ROOT/array\"; fi",
    );
    // The array has its name below /dev, which is not ours here.
    machine.program(
        "mkfs.ext4",
        "exec /usr/sbin/mkfs.ext4 -q -F -L dstack-data \"$ROOT/md\"",
    );
    assert!(machine.boot().contains("formatted /dev/md/dstack"));
    let asked = fs::read_to_string(machine.path("mdadm")).unwrap();
    assert!(
        asked.contains("--raid-devices=2") && asked.contains("disk0") && asked.contains("disk1"),
        "{asked}"
    );
    machine.shut_down();
    assert!(
        !machine.boot().contains("formatted"),
        "it is found by its label"
    );
    assert_eq!(machine.mounted(), Some(machine.path("md")));
}

#[test]
fn keys_forwarding_and_docker_are_set_once() {
    let machine = Machine::new(&[16]);
    fs::create_dir_all(machine.path("home/.ssh")).unwrap();
    fs::write(
        machine.path("home/.ssh/authorized_keys"),
        "ssh-rsa AAAA the image's own",
    )
    .unwrap();
    machine.program("touch", "exec /usr/bin/touch \"$@\"");
    fs::create_dir_all(machine.path("etc/docker")).unwrap();
    fs::write(
        machine.path("etc/docker/daemon.json"),
        r#"{"runtimes": {"nvidia": {"path": "x"}}}"#,
    )
    .unwrap();
    machine.boot();
    machine.boot();
    let keys = fs::read_to_string(machine.path("home/.ssh/authorized_keys")).unwrap();
    assert_eq!(
        keys,
        "ssh-rsa AAAA the image's own\nssh-ed25519 AAAAC3Nza\n"
    );
    let docker = fs::read_to_string(machine.path("etc/docker/daemon.json")).unwrap();
    assert!(
        docker.contains("nvidia") && docker.contains("/data/docker"),
        "{docker}"
    );
    let calls = fs::read_to_string(machine.path("systemctl")).unwrap();
    assert_eq!(calls, "reload ssh\nrestart docker\n");
}

#[test]
fn what_a_cloud_would_not_take_is_refused_before() {
    let boot = |keys: &[String]| {
        FirstBoot {
            login: "ubuntu",
            keys,
        }
        .script()
    };
    assert!(matches!(boot(&["not-a-key".into()]), Err(Unfit::Key(_))));
    let many: Vec<String> = (0..1000).map(|n| format!("ssh-ed25519 {n:070}")).collect();
    assert!(matches!(boot(&many), Err(Unfit::TooLarge(_))));
    let hostile = ["ssh-rsa A'$(reboot)'".to_owned()];
    assert!(boot(&hostile).unwrap().contains(r"'\''$(reboot)'\''"));
    assert!(matches!(
        FirstBoot {
            login: "",
            keys: &[]
        }
        .script(),
        Err(Unfit::Login(_))
    ));
}
