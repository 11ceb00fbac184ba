# The service services.prometheus.exporters.jitsi of NixOS was made for jitsiexporter (Go). This module makes it run this program:
#
#   imports = [ ./jitsiexporter/deploy/nixos/module.nix ];
#   services.prometheus.exporters.jitsi.enable = true;
#
# The command line of the service selects the legacy names. For the standard names:
#
#   services.prometheus.exporters.jitsi.extraFlags = [ "--legacy-names=false" ];
#
# For TLS and passwords, systemd passes the files to the service, whose user cannot read them itself. In web.yml, use the names on
# the left (cert_file: cert.pem):
#
#   services.prometheus.exporters.jitsi.extraFlags = [ "--web-config-file=%d/web.yml" ];
#   systemd.services.prometheus-jitsi-exporter.serviceConfig.LoadCredential = [
#     "web.yml:/var/lib/secrets/jitsiexporter/web.yml"
#     "cert.pem:/var/lib/acme/example.org/fullchain.pem"
#     "key.pem:/var/lib/acme/example.org/key.pem"
#   ];
#
# systemd reads them once, at the start: restart the service after a renewal (security.acme.certs.<name>.reloadServices).
{
  nixpkgs.overlays = [
    (final: _prev: {
      prometheus-jitsi-exporter = final.callPackage ./package.nix { };
    })
  ];
}
