#!/bin/bash
# Makes of this Debian system what Arch Linux ARM publishes: a root file system with pacman, and signed packages of the kernel,
# the firmware, the ssh server and the watchdog daemon in repositories, which are left in /srv/alarm.
set -euo pipefail

arch=$1
case "$arch" in
aarch64) kernel=kernel8.img ;;
*) kernel=kernel7.img ;;
esac
work=/opt/work
repos=/srv/alarm/$arch
mkdir -p "$work" "$repos"/{core,extra,alarm,shop}

# The key that signs packages; pacman-key believes it by the keyring of the base.
export GNUPGHOME=/opt/gnupg
mkdir -m 0700 "$GNUPGHOME"
gpg --batch --passphrase '' --quick-gen-key 'Builder <builder@example.org>' ed25519 sign never
rm -f /usr/share/keyrings/*
gpg --export > /usr/share/keyrings/archlinuxarm.gpg
gpg --list-keys --with-colons | awk -F: '/^fpr/ { print $10 ":4:"; exit }' > /usr/share/keyrings/archlinuxarm-trusted
# The key of somebody else's repository, which the base does not know.
gpg --batch --passphrase '' --quick-gen-key 'Shop <shop@example.org>' ed25519 sign never
gpg --export --armor shop@example.org > "$repos/../shop.asc"
signer=builder@example.org

# Moves the files of Debian packages, but for folders, below a folder.
take() {
    local folder=$1
    shift
    dpkg -L "$@" | sort -u | sed -E 's,^/(lib|bin|sbin)/,/usr/\1/,' | while read -r file; do
        if [ -L "$file" ] || [ -f "$file" ]; then echo "${file#/}"; fi
    done | sort -u > "$work/list"
    tar -C / -cf - -T "$work/list" | tar -C "$folder" -xf -
    (cd / && xargs -d '\n' rm -f < "$work/list")
}

# Packs a folder as the package NAME VERSION of a repository, with further lines for its description.
pack() {
    local repo=$1 name=$2 version=$3 folder=$4
    shift 4
    {
        printf '%s = %s\n' pkgname "$name" pkgbase "$name" pkgver "$version" pkgdesc Test url https://example.org \
            builddate 1700000000 packager 'Builder <builder@example.org>' size 1000 arch "$arch" license custom
        printf '%s\n' "$@"
    } > "$folder/.PKGINFO"
    local file=$repos/$repo/$name-$version-$arch.pkg.tar.zst
    (cd "$folder" && find . -mindepth 1 -maxdepth 1 -printf '%P\n' | sort -r |
        tar --zstd --sort=name --mtime=@1700000000 --owner=0 --group=0 -cf "$file" -T -)
    gpg --batch --local-user "$signer" --detach-sign "$file"
}

systemctl disable ssh watchdog
rm -f /etc/ssh/ssh_host_*

linux=$work/linux
mkdir -p "$linux"/{boot,usr/lib}
mv /boot/vmlinuz-* "$linux/boot/$kernel"
mv /boot/initrd.img-* "$linux/boot/initramfs-linux.img"
find /usr/lib/linux-image-* -name 'bcm27*.dtb' -exec cp {} "$linux/boot/" \;
mv /usr/lib/modules "$linux/usr/lib/"
mkdir "$linux/boot/overlays"
# A device tree without a node: its header, an empty list of reserved memory, and the root.
tree=d00dfeed000000480000003800000048000000280000001100000010000000000000000000000010\
0000000000000000000000000000000000000001000000000000000200000009
perl -e 'print pack "H*", shift' "$tree" > "$linux/boot/overlays/dwc2.dtbo"
# What no machine of the tests needs.
rm -rf "$linux"/usr/lib/modules/*/kernel/{sound,drivers/{gpu,media,infiniband,iio,staging,net/{wireless,ethernet}}}
echo 'root=/dev/mmcblk0p2 rw rootwait console=serial0,115200 console=tty1 fsck.repair=yes' > "$linux/boot/cmdline.txt"
printf '%s\n' '# For more options see the documentation.' 'initramfs initramfs-linux.img followkernel' > "$linux/boot/config.txt"
pack core linux-rpi 6.12.1-1 "$linux" 'backup = boot/config.txt' 'backup = boot/cmdline.txt'

firmware=$work/firmware
mkdir -p "$firmware/boot"
dpkg-deb -x /opt/raspi-firmware_*.deb "$work/raspi"
cp "$work"/raspi/usr/lib/raspi-firmware/{bootcode.bin,start*.elf,fixup*.dat} "$firmware/boot/"
pack alarm raspberrypi-bootloader 20250101-1 "$firmware"

openssh=$work/openssh
mkdir -p "$openssh/etc/ssh"
take "$openssh" openssh-server openssh-client openssh-sftp-server
grep -v ^Include "$openssh/usr/share/openssh/sshd_config" > "$openssh/etc/ssh/sshd_config"
rm -f /etc/ssh/sshd_config "$openssh"/usr/lib/systemd/system/*
cat > "$openssh/usr/lib/systemd/system/sshd.service" <<'UNIT'
[Unit]
Description=OpenSSH Daemon
After=network.target

[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D
Restart=always

[Install]
WantedBy=multi-user.target
UNIT
pack core openssh 10.0p1-1 "$openssh" 'backup = etc/ssh/sshd_config'

watchdog=$work/watchdog
mkdir -p "$watchdog"
take "$watchdog" watchdog
rm -f "$watchdog"/usr/lib/systemd/system/* "$watchdog"/etc/default/*
cat > "$watchdog/usr/lib/systemd/system/watchdog.service" <<'UNIT'
[Unit]
Description=Watchdog Daemon

[Service]
ExecStart=/usr/sbin/watchdog -F

[Install]
WantedBy=multi-user.target
UNIT
pack extra watchdog 5.16-1 "$watchdog" 'backup = etc/watchdog.conf'

# What the system has, and what it does without, is one package, which the base has in an older version.
provides=()
for name in firmware-raspberrypi raspberrypi-utils mkinitcpio iproute2 iputils ca-certificates tzdata procps-ng less nano \
    bash-completion wpa_supplicant wireless-regdb iw; do
    provides+=("provides = $name")
done
base=$work/base
mkdir -p "$base/usr/share/alarm"
for version in 1-1 2-1; do
    echo "$version" > "$base/usr/share/alarm/version"
    pack core base "$version" "$base" "${provides[@]}"
done
mv "$repos"/core/base-1-1-* "$work/"

tools=$work/tools
mkdir -p "$tools/usr/share/shop"
echo open > "$tools/usr/share/shop/tools"
signer=shop@example.org
pack shop shop-tools 1.0-1 "$tools"

# Both repo-add and pacman-key read parts of makepkg. Debian has them in another package than these, Arch has not.
dpkg-deb -x /opt/makepkg_*.deb "$work/makepkg"
cp -r "$work/makepkg/usr/share/makepkg" /usr/share/
for repo in core extra alarm shop; do
    (cd "$repos/$repo" && repo-add --quiet "$repo.db.tar.gz" ./*.pkg.tar.zst)
done

mkdir -p /etc/pacman.d
echo 'Server = http://mirror.archlinuxarm.org/$arch/$repo' > /etc/pacman.d/mirrorlist
cat > /etc/pacman.conf <<CONF
[options]
HoldPkg     = pacman glibc
Architecture = $arch
CheckSpace
ParallelDownloads = 5
SigLevel    = Required DatabaseOptional
LocalFileSigLevel = Optional

[core]
Include = /etc/pacman.d/mirrorlist

[extra]
Include = /etc/pacman.d/mirrorlist

[alarm]
Include = /etc/pacman.d/mirrorlist
CONF
sed 's/^CheckSpace/DisableSandbox/;s/^LocalFileSigLevel.*/LocalFileSigLevel = Never/' /etc/pacman.conf > "$work/pacman.conf"
pacman --config "$work/pacman.conf" -U --noconfirm "$work"/base-1-1-"$arch".pkg.tar.zst

# As in the tarball that is published: users with passwords that everybody knows, and no trace of apt.
useradd --create-home alarm
printf '%s\n' alarm:alarm root:root | chpasswd
gpgconf --kill all
rm -rf /opt/* /var/lib/pib /var/lib/apt /var/lib/dpkg /etc/apt /etc/dpkg /var/cache/* /usr/sbin/policy-rc.d \
    /usr/sbin/update-initramfs* /boot/* /var/log/* /etc/default/locale
mkdir -p /var/cache/pacman/pkg
