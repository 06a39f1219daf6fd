# The service for NixOS:
#
#   imports = [ /path/to/haul/nix/module.nix ];
#   services.haul = {
#     enable = true;
#     settings = {
#       destinations.nas.url = "/mnt/nas/backups";
#       jobs.home = {
#         source = "/var/lib/hass";
#         schedule = "daily 04:45";
#         destinations = [ "nas" ];
#         password_file = "/run/credentials/haul.service/key";
#       };
#     };
#     credentials.key = "/etc/secrets/haul-key";
#     writablePaths = [ "/mnt/nas" ];
#   };
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.haul;
  toml = pkgs.formats.toml { };
  inherit (lib) mkIf mkOption mkEnableOption types;

  # haul.toml holds no secrets, it names their files. Those in the store could be read by everybody.
  inStore = path: builtins.isPath path || lib.hasPrefix builtins.storeDir path;
  filesInStore =
    value:
    lib.optionals (builtins.isAttrs value) (
      lib.concatLists (
        lib.mapAttrsToList (
          name: below: if lib.hasSuffix "_file" name then lib.optional (inStore below) name else filesInStore below
        ) value
      )
    );

  written = toml.generate "haul.toml" cfg.settings;
in
{
  options.services.haul = {
    enable = mkEnableOption "backups of Home Assistant by Haul";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package of Haul.";
    };

    settings = mkOption {
      type = types.nullOr toml.type;
      default = null;
      example = lib.literalExpression ''
        {
          destinations.nas.url = "/mnt/nas/backups";
          jobs.home = {
            source = "/var/lib/hass";
            schedule = "daily 04:45";
            destinations = [ "nas" ];
          };
        }
      '';
      description = ''
        haul.toml. It names the files that hold secrets; give their paths as strings. With null, the page sets Haul up, in
        /etc/haul/haul.toml.
      '';
    };

    listen = mkOption {
      type = types.str;
      default = "127.0.0.1:8745";
      description = "Address of the page; `none` switches it off.";
    };

    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--https" "--hosts" "nas.example.net" ];
      description = "More arguments of `haul serve`. Everybody can read them.";
    };

    credentials = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = { key = "/etc/secrets/haul-key"; };
      description = "Files that the service finds as /run/credentials/haul.service/NAME.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/secrets/haul.env";
      description = "A file with environment variables of the service, such as AWS_SECRET_ACCESS_KEY.";
    };

    writablePaths = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/mnt/nas" ];
      description = "Directories of this machine that hold destinations. The service can change nothing else.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = filesInStore cfg.settings == [ ];
        message = "services.haul.settings: a file with a secret would get into the store (${lib.concatStringsSep ", " (filesInStore cfg.settings)}): give its path as a string.";
      }
      {
        assertion = !builtins.any inStore (builtins.attrValues cfg.credentials);
        message = "services.haul.credentials: a file with a secret is in the store: give its path as a string.";
      }
    ];

    environment.systemPackages = [ cfg.package ];
    environment.etc."haul/haul.toml" = mkIf (cfg.settings != null) { source = written; };

    systemd.services.haul = {
      description = "Backups of Home Assistant";
      after = [ "network-online.target" "time-sync.target" "remote-fs.target" ];
      wants = [ "network-online.target" ];
      wantedBy = [ "multi-user.target" ];
      environment = {
        HAUL_CONFIG = "/etc/haul/haul.toml";
        HAUL_STATE = "/var/lib/haul";
      };
      # What `before` and `after` of a job may start.
      path = [ pkgs.bash pkgs.coreutils config.systemd.package ];
      restartTriggers = lib.optional (cfg.settings != null) written;
      startLimitIntervalSec = 600;
      startLimitBurst = 5;
      # As packaging/systemd/haul.service, which explains it.
      serviceConfig = {
        ExecStart = lib.escapeShellArgs ([ "${cfg.package}/bin/haul" "serve" "--listen" cfg.listen ] ++ cfg.extraArgs);
        ConfigurationDirectory = mkIf (cfg.settings == null) "haul";
        ConfigurationDirectoryMode = "0700";
        StateDirectory = "haul";
        StateDirectoryMode = "0700";
        LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
        EnvironmentFile = mkIf (cfg.environmentFile != null) cfg.environmentFile;
        ReadWritePaths = cfg.writablePaths;
        Restart = "on-failure";
        RestartSec = 30;
        RestartPreventExitStatus = 2;
        KillMode = "mixed";
        TimeoutStopSec = "2min";
        Nice = 10;
        IOSchedulingClass = "idle";
        OOMScoreAdjust = 500;
        UMask = "0077";
        CapabilityBoundingSet = [ "CAP_DAC_READ_SEARCH" "CAP_DAC_OVERRIDE" "CAP_CHOWN" "CAP_FOWNER" "CAP_SETFCAP" ];
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = "read-only";
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        LockPersonality = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        RestrictNamespaces = [ "user" "mnt" "pid" "net" "ipc" "uts" ];
        RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "@mount" ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
