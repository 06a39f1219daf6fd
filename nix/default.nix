# `nix-build nix` builds Haul with your channel's packages.
{ pkgs ? import <nixpkgs> { } }:

pkgs.callPackage ./package.nix { }
