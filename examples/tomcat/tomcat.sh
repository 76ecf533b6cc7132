#!/bin/sh
# Runs one Tomcat on $HOST:$PORT, in a CATALINA_BASE of its own that is made from conf/ and webapps/ beside this file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${CATALINA_HOME:-/usr/share/tomcat10}
[ -f "$home/bin/catalina.sh" ] || {
    echo "no Tomcat in $home: install one (Debian: apt-get install tomcat10-user) or set CATALINA_HOME" >&2
    exit 1
}
jar=${TANDEM_TOMCAT_JAR:-$(ls "$here"/../../integrations/tomcat/jakarta/target/tandem-tomcat-jakarta-*.jar 2>/dev/null |
    tail -n 1)}
[ -f "$jar" ] || {
    echo "no session manager: mvn -f integrations/tomcat/pom.xml package -DskipTests, or set TANDEM_TOMCAT_JAR" >&2
    exit 1
}

base=${TMPDIR:-/tmp}/tandem-tomcat-$(id -u)-$HOST-$TANDEM_INSTANCE
mkdir -p -m 700 "$base"
[ -O "$base" ] || {
    echo "$base belongs to another user" >&2
    exit 1
}
mkdir -p "$base/conf" "$base/lib" "$base/logs" "$base/temp" "$base/work"
# Debian keeps a new instance's configuration in skel/.
if [ -d "$home/skel/conf" ]; then cp -R "$home"/skel/conf/. "$base/conf"; else cp -R "$home"/conf/. "$base/conf"; fi
cp "$here"/conf/* "$base/conf"
ln -sfn "$here/webapps" "$base/webapps"
ln -sf "$jar" "$base/lib/tandem-tomcat.jar"

export CATALINA_HOME="$home" CATALINA_BASE="$base"
export CATALINA_OPTS="${CATALINA_OPTS:-} -Dtandem.host=$HOST -Dtandem.port=$PORT"
exec "$home/bin/catalina.sh" run
