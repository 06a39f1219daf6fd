//! The names of all defects.

use serde::Serialize;

macro_rules! defects {
    ($($(#[$doc:meta])* $variant:ident = $id:literal,)*) => {
        /// What is wrong, by a name that scripts can rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        pub enum Defect {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)*
        }

        impl Defect {
            /// All of them, in the order in which readers meet them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }
        }
    };
}

defects! {
    /// No bytes at all.
    EmptyFile = "empty-file",
    /// Zeros only.
    ZerosOnly = "zeros-only",
    /// A page or message instead of a backup.
    ErrorPage = "error-page",
    /// Packed as a whole.
    WrapperPacked = "wrapper-packed",
    /// A configuration or a piece of a backup.
    NotWrapped = "not-wrapped",
    /// Another tool's file.
    NotHomeAssistant = "not-home-assistant",
    /// The outer tar is cut.
    OuterTruncated = "outer-truncated",
    /// A header of the outer tar is damaged.
    OuterDamaged = "outer-damaged",
    /// Data follows the end.
    OuterTrailing = "outer-trailing-bytes",
    /// The end mark, or zeros at the end, are missing.
    OuterEnd = "outer-end",
    /// Haul's index is damaged.
    Index = "index-damaged",
    /// No description.
    ManifestMissing = "manifest-missing",
    /// The description without `./`.
    ManifestName = "manifest-without-dot-slash",
    /// `snapshot.json`.
    OldSnapshot = "old-snapshot",
    /// Several descriptions.
    ManifestTwice = "manifest-twice",
    /// A member of the outer tar that leads out of it.
    OuterEscaping = "outer-member-escaping",
    /// `AppleDouble` members.
    AppleDouble = "appledouble-member",
    /// Sizes of two headers disagree.
    OuterSizes = "outer-sizes-disagree",
    /// A `size` record that Core copies when it changes the encryption.
    SizeRecord = "size-record",
    /// No JSON.
    ManifestNotJson = "manifest-not-json",
    /// A list, a number.
    ManifestNotObject = "manifest-not-an-object",
    /// `addons`.
    Addons = "manifest-addons",
    /// `folders`.
    Folders = "manifest-folders",
    /// `extra`.
    Extra = "manifest-extra",
    /// `date`.
    Date = "manifest-date",
    /// `slug`.
    Slug = "manifest-slug",
    /// `name`.
    Name = "manifest-name",
    /// `version` of the description.
    ManifestVersion = "manifest-version",
    /// A repository that every Supervisor has, by its address.
    Repository = "manifest-repository",
    /// Other fields that the Supervisor checks.
    ManifestField = "manifest-field",
    /// `homeassistant`.
    HomeAssistant = "manifest-homeassistant",
    /// Newer than the reader.
    VersionNewer = "version-newer",
    /// The Supervisor that made it is newer.
    SupervisorNewer = "supervisor-version-newer",
    /// `compressed` is missing.
    CompressedMissing = "manifest-compressed",
    /// `compressed` and the member's name contradict each other.
    CompressedFlag = "compressed-flag",
    /// Not there.
    InnerMissing = "inner-missing",
    /// With `./`.
    InnerName = "inner-with-dot-slash",
    /// Empty.
    InnerEmpty = "inner-empty",
    /// Neither gzip, tar nor encrypted.
    InnerUnknown = "inner-unknown",
    /// Not what its name says.
    InnerNotAsNamed = "inner-not-as-named",
    /// `protected` is true, the member is plain.
    ProtectedButPlain = "protected-but-plain",
    /// `protected` is false, the member is encrypted.
    EncryptedNotProtected = "encrypted-but-not-protected",
    /// No password.
    PasswordNotGiven = "password-not-given",
    /// The wrong one.
    WrongPassword = "wrong-password",
    /// SecureTar newer than the reader.
    SecureTarVersion = "securetar-version",
    /// SecureTar 1.
    SecureTarOld = "securetar-1",
    /// Size in SecureTar's header.
    SecureTarSize = "securetar-size",
    /// Encrypted bytes were changed.
    SecureTarDamaged = "securetar-damaged",
    /// A part that is announced and not there.
    PartMissing = "part-missing",
    /// A part that is there and not announced.
    PartUnknown = "part-not-declared",
    /// The Supervisor's own part, encrypted.
    SupervisorConfig = "supervisor-config-encrypted",
    /// A part that is damaged.
    PartDamaged = "part-damaged",
    /// A part that is not encrypted as the others are.
    PartEncryption = "part-encryption",
    /// Several gzip members.
    GzipMembers = "gzip-several-members",
    /// Wrong checksum.
    GzipChecksum = "gzip-checksum",
    /// Cut.
    InnerTruncated = "inner-truncated",
    /// Damaged compression.
    InnerDamaged = "inner-damaged",
    /// Data follows the end.
    InnerTrailing = "inner-trailing-bytes",
    /// No `data`.
    NoData = "no-data",
    /// `data` is a link.
    DataLink = "data-a-link",
    /// FIFO.
    Fifo = "fifo",
    /// A name is longer than Linux allows.
    NameTooLong = "name-too-long",
    /// Device.
    Device = "device",
    /// Hard link.
    HardLink = "hard-link",
    /// Hard link to nothing.
    HardLinkToNothing = "hard-link-to-nothing",
    /// Leads out.
    Escaping = "escaping-member",
    /// Through a link.
    EscapingLink = "escaping-through-link",
    /// Symbolic links.
    Symlink = "symlink",
    /// `backups`.
    Backups = "named-backups",
    /// A name twice.
    MemberTwice = "member-twice",
    /// No UTF-8.
    NameEncoding = "name-not-utf8",
    /// Sizes of the headers of an inner member.
    InnerSizes = "inner-sizes-disagree",
    /// Nothing in it.
    ConfigEmpty = "config-empty",
    /// No `.storage`.
    NoStorage = "no-storage",
    /// No users.
    NoAuth = "no-auth",
    /// `.storage/core.config_entries` is not there.
    NoConfigEntries = "no-config-entries",
    /// A settings file that Home Assistant can't read.
    SettingsDamaged = "settings-damaged",
    /// `.storage/onboarding` is not there.
    NoOnboarding = "no-onboarding",
    /// No `.HA_VERSION`.
    NoVersion = "no-ha-version",
    /// No `configuration.yaml`.
    NoConfiguration = "no-configuration",
    /// The request for another restore.
    PendingRestore = "restore-wish",
    /// No database.
    DatabaseMissing = "database-missing",
    /// No database, but its log.
    WalWithoutDatabase = "wal-without-database",
    /// No log beside it.
    DatabaseWithoutWal = "database-without-wal",
    /// Not one, or cut.
    DatabaseDamaged = "database-damaged",
    /// Another database is damaged.
    OtherDatabaseDamaged = "other-database-damaged",
}
